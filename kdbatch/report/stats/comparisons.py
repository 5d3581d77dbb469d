"""Compares roles: the effect, and its interval over test videos and seeds. Axis: R replicates."""

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
class Comparison:
    """One effect with its 95 % interval from `low` to `high`, both None where there is none.

    The interval comes from `replicates_R` (over `num_videos` videos, and over seeds where there are
    several) or, without replicates, from `differences` (one per seed).
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
        """Return whether the interval lies above the threshold; `inclusive`: or begins on it."""
        if self.low is None:
            return False
        return self.low >= threshold if inclusive else self.low > threshold

    def misses(self, threshold: float, *, num_comparisons: int) -> bool:
        """Return whether the interval, widened for `num_comparisons`, lies below the threshold."""
        level = 1 - (1 - CONFIDENCE_LEVEL) / num_comparisons
        if self.replicates_R is not None:
            return percentile_interval(self.replicates_R, level=level)[1] < threshold
        wide = t_interval(self.differences, level=level)
        return wide is not None and wide[1] < threshold


def compare_arms(
    label: str, weights: Mapping[Arm, float], resampled: Resampled | None, draws: SeedDraws
) -> Comparison | None:
    """Return a weighted sum of arms (weights sum to 0), or None while a run is not done.

    With per-video predictions: a paired bootstrap over videos, to which the error of the seeds is
    added where there are several. Without them: Student's interval over seeds.
    """
    if not all(arm.is_complete for arm in weights):
        return None
    runs = [run for arm in weights for run in arm.runs.values()]
    if resampled is None or not all(run in resampled.accuracy for run in runs):
        return _compare_over_seeds(label, weights)
    effect = sum(
        weight * float(np.mean([resampled.accuracy[run] for run in arm.runs.values()]))
        for arm, weight in weights.items()
    )
    replicates_R = np.sum(
        [weight * _mean_R(arm, resampled) for arm, weight in weights.items()], axis=0
    )
    # Arms that have the same seeds are compared seed by seed.
    for seeds in dict.fromkeys(tuple(arm.runs) for arm in weights):
        paired = {arm: weight for arm, weight in weights.items() if tuple(arm.runs) == seeds}
        by_seed = {seed: _effect_at(seed, paired, resampled) for seed in seeds}
        replicates_R = replicates_R + draws.errors(by_seed)
    low, high = percentile_interval(replicates_R)
    return Comparison(
        label=label,
        effect=effect,
        low=low,
        high=high,
        num_videos=min(resampled.num_videos[run] for run in runs),
        num_seeds=min(len(arm.runs) for arm in weights),
        replicates_R=replicates_R,
    )


def _mean_R(arm: Arm, resampled: Resampled) -> np.ndarray:
    return np.mean([resampled.replicates[run] for run in arm.runs.values()], axis=0)


def _effect_at(seed: int, weights: Mapping[Arm, float], resampled: Resampled) -> float:
    return sum(weight * resampled.accuracy[arm.runs[seed]] for arm, weight in weights.items())


def compare_seeds(label: str, *, high: Arm, low: Arm) -> Comparison | None:
    """Return `high` minus `low`, seed by seed, or None while a run is not done."""
    if not (high.is_complete and low.is_complete):
        return None
    return _compare_over_seeds(label, {high: 1.0, low: -1.0})


def _compare_over_seeds(label: str, weights: Mapping[Arm, float]) -> Comparison:
    """Return the effect with Student's interval over the seeds that all arms have.

    Fewer than two such seeds give the effect without an interval.
    """
    shared = sorted(set.intersection(*(set(arm.measured_values) for arm in weights)))
    differences = []
    for seed in shared:
        terms = [weight * arm.measured_values[seed] for arm, weight in weights.items()]
        differences.append(sum(terms))
    of_means = sum(weight * arm.mean for arm, weight in weights.items())
    bounds = t_interval(differences)
    return Comparison(
        label=label,
        effect=float(np.mean(differences)) if shared else of_means,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        num_videos=0,
        num_seeds=max(len(shared), 1),
        differences=tuple(differences),
    )
