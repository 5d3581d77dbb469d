"""Compares roles: the effect, and its interval over test videos and seeds.

Axis: R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.report.stats.arms import Arm, Contrast
from kdbatch.report.stats.bootstrap import (
    Resampled,
    SeedDraws,
    SeedSpread,
    percentile_interval,
    t_interval,
    t_tail,
    unseen_differences,
)
from kdbatch.report.stats.seed_spreads import seed_spreads

EQUAL_POINTS = 1e-9  # a difference that is rounding alone


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """One effect with its 95 % interval from `low` to `high`, both None where there is none.

    The interval comes from `replicates_R` (over `num_videos` videos in `num_groups` groups, and
    over seeds where there are several) or, without replicates, from `differences` (one per seed).
    Both sides of an effect that `is_identical` are right on the same videos. `sides` are the ids of
    the runs on both sides of the difference.
    """

    label: str
    effect: float
    low: float | None
    high: float | None
    num_videos: int
    num_seeds: int
    num_groups: int = 0
    is_identical: bool = False
    replicates_R: np.ndarray | None = None
    differences: tuple[float, ...] = ()
    sides: tuple[tuple[str, ...], ...] = ()

    def tail_below(self, threshold: float, *, inclusive: bool) -> float:
        """Return the one-sided p-value of "the effect is not above the threshold".

        `inclusive`: of "the effect is below it". A share of R replicates is counted as one more
        of R + 1 (Davison & Hinkley 1997, sec. 4.2.5). 1 where there is no interval.
        """
        if self.replicates_R is not None:
            below_R = self.replicates_R < threshold if inclusive else self.replicates_R <= threshold
            return (1 + int(below_R.sum())) / (1 + len(below_R))
        return self._t_tail(threshold, sign=1)

    def tail_above(self, threshold: float) -> float:
        """Return the one-sided p-value of "the effect is not below the threshold"."""
        if self.replicates_R is not None:
            above_R = self.replicates_R >= threshold
            return (1 + int(above_R.sum())) / (1 + len(above_R))
        return self._t_tail(threshold, sign=-1)

    def _t_tail(self, threshold: float, *, sign: int) -> float:
        if len(self.differences) < 2:
            return 1.0
        error = float(np.std(self.differences, ddof=1)) / len(self.differences) ** 0.5
        distance = sign * (self.effect - threshold)
        if not error:
            return float(distance <= 0)
        return t_tail(distance / error, len(self.differences) - 1)


def compare_arms(
    label: str, weights: Mapping[Arm, float], resampled: Resampled | None, draws: SeedDraws
) -> Comparison | None:
    """Compare a single contrast; see compare_contrasts."""
    return compare_contrasts([Contrast(label=label, weights=weights)], resampled, draws)[0]


def compare_contrasts(
    contrasts: Sequence[Contrast],
    resampled: Resampled | None,
    draws: SeedDraws,
    *,
    others: Sequence[Contrast] = (),
) -> list[Comparison | None]:
    """Return the effect of each contrast, or None while one of its runs is not done.

    With per-video predictions: a paired bootstrap over groups of videos, to which the error of the
    seeds is added where there are several; `others` add to what is known of it. Without them:
    Student's interval over seeds.
    """
    spreads = seed_spreads(contrasts, others, resampled) if resampled else {}
    return [_compare(contrast, resampled, spreads, draws) for contrast in contrasts]


def _compare(
    contrast: Contrast,
    resampled: Resampled | None,
    spreads: Mapping[Contrast, Sequence[SeedSpread]],
    draws: SeedDraws,
) -> Comparison | None:
    if not contrast.is_complete:
        return None
    if resampled is None or contrast not in spreads:
        return _compare_over_seeds(contrast)
    weights = contrast.weights
    effect = sum(
        weight * float(np.mean([resampled.accuracy[run] for run in arm.runs.values()]))
        for arm, weight in weights.items()
    )
    means = resampled.replicates.mean_of
    replicates_R = np.sum(
        [weight * means(arm.runs.values()) for arm, weight in weights.items()], axis=0
    )
    num_groups = contrast.count(resampled.num_groups)
    for spread in spreads[contrast]:
        replicates_R = replicates_R + draws.errors(spread)
    is_constant = float(np.ptp(replicates_R)) < EQUAL_POINTS
    if is_constant:
        replicates_R = np.clip(effect + unseen_differences(num_groups), -100, 100)
    low, high = percentile_interval(replicates_R)
    return Comparison(
        label=contrast.label,
        effect=effect,
        low=low,
        high=high,
        num_videos=contrast.count(resampled.num_videos),
        num_groups=num_groups,
        num_seeds=min(len(arm.runs) for arm in weights),
        is_identical=is_constant and abs(effect) < EQUAL_POINTS,
        replicates_R=replicates_R,
        sides=contrast.sides,
    )


def compare_seeds(label: str, *, high: Arm, low: Arm) -> Comparison | None:
    """Return `high` minus `low`, seed by seed, or None while a run is not done."""
    if not (high.is_complete and low.is_complete):
        return None
    return _compare_over_seeds(Contrast(label=label, weights={high: 1.0, low: -1.0}))


def _compare_over_seeds(contrast: Contrast) -> Comparison:
    """Return the effect with Student's interval over the seeds that all arms have.

    Fewer than two such seeds give the effect without an interval.
    """
    weights = contrast.weights
    shared = sorted(set.intersection(*(set(arm.measured_values) for arm in weights)))
    differences = []
    for seed in shared:
        terms = [weight * arm.measured_values[seed] for arm, weight in weights.items()]
        differences.append(sum(terms))
    of_means = sum(weight * arm.mean for arm, weight in weights.items())
    bounds = t_interval(differences)
    return Comparison(
        label=contrast.label,
        effect=float(np.mean(differences)) if shared else of_means,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        num_videos=0,
        num_seeds=max(len(shared), 1),
        differences=tuple(differences),
        sides=contrast.sides,
    )
