"""Arms and contrasts: which runs a comparison weighs against each other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.vocab.plans.records import Cell


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """One side of a comparison: a role in one case and fold, with all its seeds.

    `runs` and `values` are by seed; a value is None where its run is not done.
    """

    title: str
    runs: Mapping[int, str]
    values: Mapping[int, float | None]
    fold: int = 1

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


def arms_of(
    cells: Sequence[Cell], *, title: str, value: Callable[[str], float | None]
) -> list[Arm]:
    """Return an arm for each fold of the cells of a role in a case; `value` is that of a run."""
    folds: dict[int, dict[int, str]] = {}
    for cell in sorted(cells, key=lambda cell: cell.fold):
        folds.setdefault(cell.fold, {})[cell.seed] = cell.run_id
    return [
        Arm(
            title=title,
            runs=runs,
            values={seed: value(run) for seed, run in runs.items()},
            fold=fold,
        )
        for fold, runs in folds.items()
    ]


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
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The runs of the arms with positive weight, and those of the others, each run once."""
        high, low = {}, {}
        for arm, weight in self.weights.items():
            (high if weight > 0 else low).update(dict.fromkeys(arm.runs.values()))
        return tuple(high), tuple(low)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all arms; none where arms have different ones."""
        of_arms = {tuple(sorted(arm.runs)) for arm in self.weights}
        return of_arms.pop() if len(of_arms) == 1 else ()

    def count(self, number_of: Mapping[str, int]) -> int:
        """The least number (of videos, of groups) of the runs of each fold, summed over folds."""
        found: dict[int, int] = {}
        for arm in self.weights:
            for run in arm.runs.values():
                found[arm.fold] = min(number_of[run], found.get(arm.fold, number_of[run]))
        return sum(found.values())

    def seed_parts(self) -> list[dict[Arm, float]]:
        """The arms by the seeds that they have: those of one part are compared seed by seed."""
        return [
            {arm: weight for arm, weight in self.weights.items() if tuple(arm.runs) == seeds}
            for seeds in dict.fromkeys(tuple(arm.runs) for arm in self.weights)
        ]
