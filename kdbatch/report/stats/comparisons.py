"""Compares roles: the effect, and its interval over test videos and seeds.

Axes: R replicates, C contrasts, M runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    spreads = _seed_spreads(contrasts, others, resampled) if resampled else {}
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
    contrasts: Sequence[Contrast], others: Sequence[Contrast], resampled: Resampled
) -> dict[Contrast, list[SeedSpread]]:
    """The spread between seeds of each contrast that can be resampled.

    Where all arms have the same seeds it is estimated from all contrasts of the pool, else from the
    contrast itself, by its seed parts.
    """
    usable = [c for c in contrasts if _is_usable(c, resampled)]
    single = [part for c in [*usable, *others] for part in (c.parts or (c,))]
    pools: dict[tuple[str, tuple[int, ...]], list[Contrast]] = {}
    for contrast in dict.fromkeys(single):
        if contrast.pool and len(contrast.seeds) > 1 and _is_usable(contrast, resampled):
            pools.setdefault((contrast.pool, contrast.seeds), []).append(contrast)
    scales = {key: pool_scale(pooled) for key, pooled in pools.items()}
    spreads: dict[Contrast, list[SeedSpread]] = {}
    for contrast in usable:
        key = contrast.pool, contrast.seeds
        if key not in pools:
            parts = contrast.seed_parts()
            spreads[contrast] = [_own_spread(part, resampled) for part in parts]
            continue
        own = [_own_spread(part.weights, resampled).deviation for part in pools[key]]
        deviation = scales[key].per_training(own) * training_norm(contrast)
        degrees = scales[key].degrees
        spreads[contrast] = [SeedSpread(seeds=contrast.seeds, deviation=deviation, degrees=degrees)]
    return spreads


def _is_usable(contrast: Contrast, resampled: Resampled) -> bool:
    return contrast.is_complete and all(run in resampled.accuracy for run in contrast.run_ids)


@dataclass(frozen=True, kw_only=True)
class PoolScale:
    """How a pool of contrasts estimates the deviation of one training, and with which freedom.

    `norms` are the deviations of the contrasts where that of each training is 1.
    """

    norms: tuple[float, ...]
    degrees: float

    def per_training(self, deviations: Sequence[float]) -> float:
        """Return the deviation of one training: the root mean square of what each contrast says."""
        pairs = zip(deviations, self.norms, strict=True)
        return float(np.mean([(own / norm) ** 2 if norm else 0.0 for own, norm in pairs])) ** 0.5


def pool_scale(pooled: Sequence[Contrast]) -> PoolScale:
    """Return the scale of contrasts of one pool, which have the same seeds.

    Its degrees of freedom are those of independent contrasts, less what the runs that several
    contrasts contain make them alike: two of them whose errors correlate by rho have variances that
    correlate by rho^2 (normal errors; Satterthwaite 1946, eq. 4).
    """
    num_free = len(pooled) ** 2 / float((run_correlations(pooled) ** 2).sum())
    return PoolScale(
        norms=tuple(map(training_norm, pooled)), degrees=(len(pooled[0].seeds) - 1) * num_free
    )


def training_norm(contrast: Contrast) -> float:
    """Return the deviation between seeds of a contrast where that of each training is 1."""
    squares = float((run_weights([contrast]) ** 2).sum())
    return (squares * len(contrast.seeds)) ** 0.5


def _own_spread(weights: Mapping[Arm, float], resampled: Resampled) -> SeedSpread:
    seeds = tuple(next(iter(weights)).runs)
    effects = [
        sum(weight * resampled.accuracy[arm.runs[seed]] for arm, weight in weights.items())
        for seed in seeds
    ]
    deviation = float(np.std(effects, ddof=1)) if len(seeds) > 1 else 0.0
    return SeedSpread(seeds=tuple(sorted(seeds)), deviation=deviation, degrees=len(seeds) - 1.0)


def run_weights(contrasts: Sequence[Contrast]) -> np.ndarray:
    """Return the weight of each run in C contrasts, shape (C, runs)."""
    runs = {run: i for i, run in enumerate(dict.fromkeys(r for c in contrasts for r in c.run_ids))}
    weight_CM = np.zeros((len(contrasts), len(runs)))
    for weight_M, contrast in zip(weight_CM, contrasts, strict=True):
        for arm, weight in contrast.weights.items():
            for run in arm.runs.values():
                weight_M[runs[run]] += weight / len(arm.runs)
    return weight_CM


def run_correlations(contrasts: Sequence[Contrast]) -> np.ndarray:
    """Return how the errors of C contrasts correlate (CC) if all runs have equal, own errors."""
    weight_CM = run_weights(contrasts)
    weight_CM /= np.maximum(np.linalg.norm(weight_CM, axis=1, keepdims=True), 1e-9)
    correlation_CC = weight_CM @ weight_CM.T
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
