"""Estimates how much an effect varies between trainings, from all contrasts of a pool.

Axes: C contrasts, M runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.report.stats.arms import Arm, Contrast
from kdbatch.report.stats.bootstrap import Resampled, SeedSpread


def seed_spreads(
    contrasts: Sequence[Contrast], others: Sequence[Contrast], resampled: Resampled
) -> dict[Contrast, list[SeedSpread]]:
    """The spread between seeds of each contrast that can be resampled.

    Where all arms have the same seeds it is estimated from all contrasts of the pool, else from the
    contrast itself, by its seed parts.
    """
    usable = [c for c in contrasts if is_usable(c, resampled)]
    single = [part for c in [*usable, *others] for part in (c.parts or (c,))]
    pools: dict[tuple[str, tuple[int, ...]], list[Contrast]] = {}
    for contrast in dict.fromkeys(single):
        if contrast.pool and len(contrast.seeds) > 1 and is_usable(contrast, resampled):
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


def is_usable(contrast: Contrast, resampled: Resampled) -> bool:
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
    contrasts contain make them alike.
    """
    return PoolScale(
        norms=tuple(map(training_norm, pooled)),
        degrees=(len(pooled[0].seeds) - 1) * num_independent(pooled),
    )


def num_independent(contrasts: Sequence[Contrast]) -> float:
    """Return how many independent contrasts would tell as much about the spread between seeds.

    Two contrasts whose errors correlate by rho have variances that correlate by rho^2 (normal
    errors; the degrees of freedom are Satterthwaite's, 1946).
    """
    return len(contrasts) ** 2 / float((run_correlations(contrasts) ** 2).sum())


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
