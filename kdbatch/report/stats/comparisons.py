"""Compares roles: the effect, and its interval over test videos and seeds.

Axes: R replicates, C contrasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdbatch.report.stats.bootstrap import (
    Resampled,
    SeedDraws,
    SeedSpread,
    percentile_interval,
    t_interval,
    t_tail,
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

    The interval comes from `replicates_R` (over `num_videos` videos in `num_groups` groups, and
    over seeds where there are several) or, without replicates, from `differences` (one per seed).
    """

    label: str
    effect: float
    low: float | None
    high: float | None
    num_videos: int
    num_seeds: int
    num_groups: int = 0
    replicates_R: np.ndarray | None = None
    differences: tuple[float, ...] = ()

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Contrast:
    """A weighted sum of arms; the weights sum to 0. It is one comparison of a claim.

    Contrasts with the same `pool` have the same form in different cases: the spread between
    trainings is estimated from all of them.
    """

    label: str
    weights: Mapping[Arm, float]
    pool: str = ""

    @property
    def is_complete(self) -> bool:
        return all(arm.is_complete for arm in self.weights)

    @property
    def run_ids(self) -> list[str]:
        return [run for arm in self.weights for run in arm.runs.values()]

    def seed_parts(self) -> list[dict[Arm, float]]:
        """The arms by the seeds that they have: those of one part are compared seed by seed."""
        return [
            {arm: weight for arm, weight in self.weights.items() if tuple(arm.runs) == seeds}
            for seeds in dict.fromkeys(tuple(arm.runs) for arm in self.weights)
        ]


def compare_arms(
    label: str, weights: Mapping[Arm, float], resampled: Resampled | None, draws: SeedDraws
) -> Comparison | None:
    """Compare a single contrast; see compare_contrasts."""
    return compare_contrasts([Contrast(label=label, weights=weights)], resampled, draws)[0]


def compare_contrasts(
    contrasts: Sequence[Contrast], resampled: Resampled | None, draws: SeedDraws
) -> list[Comparison | None]:
    """Return the effect of each contrast, or None while one of its runs is not done.

    With per-video predictions: a paired bootstrap over groups of videos, to which the error of the
    seeds is added where there are several. Without them: Student's interval over seeds.
    """
    spreads = _seed_spreads(contrasts, resampled) if resampled else {}
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
        return _compare_over_seeds(contrast.label, contrast.weights)
    weights = contrast.weights
    effect = sum(
        weight * float(np.mean([resampled.accuracy[run] for run in arm.runs.values()]))
        for arm, weight in weights.items()
    )
    replicates_R = np.sum(
        [weight * _mean_R(arm, resampled) for arm, weight in weights.items()], axis=0
    )
    for spread in spreads[contrast]:
        replicates_R = replicates_R + draws.errors(spread)
    low, high = percentile_interval(replicates_R)
    return Comparison(
        label=contrast.label,
        effect=effect,
        low=low,
        high=high,
        num_videos=min(resampled.num_videos[run] for run in contrast.run_ids),
        num_groups=min(resampled.num_groups[run] for run in contrast.run_ids),
        num_seeds=min(len(arm.runs) for arm in weights),
        replicates_R=replicates_R,
    )


def _seed_spreads(
    contrasts: Sequence[Contrast], resampled: Resampled
) -> dict[Contrast, list[SeedSpread]]:
    """The spread between seeds of each contrast that can be resampled, by its seed parts.

    Contrasts of one pool whose arms all have the same seeds share the root mean square of their
    deviations. Its degrees of freedom are those of independent contrasts, less what the runs that
    several contrasts contain make them alike: two of them whose errors correlate by rho have
    variances that correlate by rho^2 (normal errors; Satterthwaite 1946, eq. 4).
    """
    spreads: dict[Contrast, list[SeedSpread]] = {}
    pools: dict[tuple[str, tuple[int, ...]], list[Contrast]] = {}
    for contrast in contrasts:
        runs = contrast.run_ids
        if not contrast.is_complete or not all(run in resampled.accuracy for run in runs):
            continue
        parts = contrast.seed_parts()
        spreads[contrast] = [_own_spread(part, resampled) for part in parts]
        if contrast.pool and len(parts) == 1:
            pools.setdefault((contrast.pool, spreads[contrast][0].seeds), []).append(contrast)
    for (_, seeds), pooled in pools.items():
        if len(pooled) > 1 and len(seeds) > 1:
            own = [spreads[contrast][0] for contrast in pooled]
            shared = _pooled_spread(own, _correlations(pooled))
            spreads |= {contrast: [shared] for contrast in pooled}
    return spreads


def _own_spread(weights: Mapping[Arm, float], resampled: Resampled) -> SeedSpread:
    seeds = tuple(next(iter(weights)).runs)
    effects = [
        sum(weight * resampled.accuracy[arm.runs[seed]] for arm, weight in weights.items())
        for seed in seeds
    ]
    deviation = float(np.std(effects, ddof=1)) if len(seeds) > 1 else 0.0
    return SeedSpread(seeds=tuple(sorted(seeds)), deviation=deviation, degrees=len(seeds) - 1.0)


def _pooled_spread(own: Sequence[SeedSpread], correlation_CC: np.ndarray) -> SeedSpread:
    mean_square = float(np.mean([spread.deviation**2 for spread in own]))
    num_free = len(own) ** 2 / float((correlation_CC**2).sum())
    return replace(own[0], deviation=mean_square**0.5, degrees=own[0].degrees * num_free)


def _correlations(contrasts: Sequence[Contrast]) -> np.ndarray:
    """How the errors of C contrasts correlate (CC) if all runs have independent, equal errors."""
    runs = {run: i for i, run in enumerate(dict.fromkeys(r for c in contrasts for r in c.run_ids))}
    weight_CR = np.zeros((len(contrasts), len(runs)))
    for weight_R, contrast in zip(weight_CR, contrasts, strict=True):
        for arm, weight in contrast.weights.items():
            for run in arm.runs.values():
                weight_R[runs[run]] += weight
    weight_CR /= np.maximum(np.linalg.norm(weight_CR, axis=1, keepdims=True), 1e-9)
    correlation_CC = weight_CR @ weight_CR.T
    np.fill_diagonal(correlation_CC, 1.0)
    return correlation_CC


def _mean_R(arm: Arm, resampled: Resampled) -> np.ndarray:
    return np.mean([resampled.replicates[run] for run in arm.runs.values()], axis=0)


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
