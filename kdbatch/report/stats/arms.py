"""Arms and contrasts: which runs a comparison weighs against each other."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One side of a comparison: a role in one case, with all its seeds.

    `runs` and `values` are by seed; a value is None where its run is not done.
    """

    title: str
    runs: Mapping[int, str]
    values: Mapping[int, float | None]

    @property
    def measured_values(self) -> dict[int, float]:
        return {seed: value for seed, value in self.values.items() if value is not None}

    @property
    def is_complete(self) -> bool:
        """True where there are runs and all of them are measured."""
        return bool(self.runs) and len(self.measured_values) == len(self.runs)

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.measured_values.values())))


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """A weighted sum of arms; the weights sum to 0. It is one comparison of a claim.

    Contrasts with the same `pool` have the same form in different cases: the spread between
    trainings is estimated from all of them. `parts` are the cases that an average is over.
    """

    label: str
    weights: Mapping[Arm, float]
    pool: str = ""
    parts: tuple["Contrast", ...] = ()

    @property
    def is_complete(self) -> bool:
        return all(arm.is_complete for arm in self.weights)

    @property
    def run_ids(self) -> list[str]:
        return [run for arm in self.weights for run in arm.runs.values()]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all arms; none where arms have different ones."""
        of_arms = {tuple(sorted(arm.runs)) for arm in self.weights}
        return of_arms.pop() if len(of_arms) == 1 else ()

    def seed_parts(self) -> list[dict[Arm, float]]:
        """The arms by the seeds that they have: those of one part are compared seed by seed."""
        return [
            {arm: weight for arm, weight in self.weights.items() if tuple(arm.runs) == seeds}
            for seeds in dict.fromkeys(tuple(arm.runs) for arm in self.weights)
        ]
