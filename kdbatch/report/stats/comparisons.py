"""Arms of a comparison: one role in one case with all its seeds; and the comparison itself. Axis: R
replicates.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdbatch.report.stats.bootstrap import (
    CONFIDENCE_LEVEL,
    Resampled,
    SeedDraws,
    percentile_interval,
    t_interval,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """`runs` and `values` by seed; a value is None where its run is not done."""

    title: str
    runs: Mapping[int, str]
    values: Mapping[int, float | None]

    @property
    def measured_values(self) -> dict[int, float]:
        return {seed: value for seed, value in self.values.items() if value is not None}

    @property
    def is_complete(self) -> bool:
        return bool(self.runs) and len(self.measured_values) == len(self.runs)

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.measured_values.values())))


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """One effect. `low` and `high` bound it at 95 %, None where no interval can be had.

    The interval comes from `replicates_R` (over `num_videos` videos, and seeds where there are
    several) or, where there are none, from `differences` (one per seed).
    """

    label: str
    effect: float
    low: float | None
    high: float | None
    num_videos: int
    num_seeds: int
    replicates_R: np.ndarray | None = None
    differences: tuple[float, ...] = ()

    def clears(self, threshold: float, *, inclusive: bool) -> bool:
        """The interval lies above the threshold; `reaches`: or on it."""
        return self.low is not None and (
            self.low >= threshold if inclusive else self.low > threshold
        )

    def misses(self, threshold: float, *, num_comparisons: int) -> bool:
        """The interval, widened as one of `among`, lies below the threshold."""
        level = 1 - (1 - CONFIDENCE_LEVEL) / num_comparisons
        if self.replicates_R is not None:
            return percentile_interval(self.replicates_R, level=level)[1] < threshold
        wide = t_interval(self.differences, level=level)
        return wide is not None and wide[1] < threshold


def compare_arms(
    label: str, weights: Mapping[Arm, float], resampled: Resampled | None, draws: SeedDraws
) -> Comparison | None:
    """A weighted sum of arms (weights sum to 0). None while some run of some arm is not done.

    From per-video predictions: paired bootstrap over videos, to which the seeds' error is added
    where there are several. Without them: over seeds alone.
    """
    if not all(arm.is_complete for arm in weights):
        return None
    runs = [run for arm in weights for run in arm.runs.values()]
    if resampled is None or not all(run in resampled.accuracy for run in runs):
        return _over_seeds(label, weights)
    effect = sum(
        weight * float(np.mean([resampled.accuracy[r] for r in arm.runs.values()]))
        for arm, weight in weights.items()
    )
    drawn_R = np.sum([weight * _mean_R(arm, resampled) for arm, weight in weights.items()], axis=0)
    for seeds in dict.fromkeys(
        tuple(arm.runs) for arm in weights
    ):  # arms of the same seeds are compared seed by seed
        paired = {arm: weight for arm, weight in weights.items() if tuple(arm.runs) == seeds}
        drawn_R = drawn_R + draws.errors(
            {
                s: sum(w * resampled.accuracy[arm.runs[s]] for arm, w in paired.items())
                for s in seeds
            }
        )
    low, high = percentile_interval(drawn_R)
    return Comparison(
        label=label,
        effect=effect,
        low=low,
        high=high,
        num_videos=min(resampled.num_videos[run] for run in runs),
        num_seeds=min(len(arm.runs) for arm in weights),
        replicates_R=drawn_R,
    )


def _mean_R(arm: Arm, resampled: Resampled) -> np.ndarray:
    return np.mean([resampled.replicates[run] for run in arm.runs.values()], axis=0)


def compare_seeds(label: str, *, high: Arm, low: Arm) -> Comparison | None:
    """`high` minus `low`, seed by seed. None while some run is not done."""
    return (
        _over_seeds(label, {high: 1.0, low: -1.0}) if high.is_complete and low.is_complete else None
    )


def _over_seeds(label: str, weights: Mapping[Arm, float]) -> Comparison:
    """Student's interval over the seeds that all arms have; the bare effect where that is one seed
    or none.
    """
    shared = sorted(set.intersection(*(set(arm.measured_values) for arm in weights)))
    differences = tuple(
        sum(weight * arm.measured_values[seed] for arm, weight in weights.items())
        for seed in shared
    )
    bounds = t_interval(differences)
    return Comparison(
        label=label,
        effect=float(np.mean(differences))
        if shared
        else sum(weight * arm.mean for arm, weight in weights.items()),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        num_videos=0,
        num_seeds=max(len(shared), 1),
        differences=differences,
    )
