"""Accuracies, resampled: what they might have been on other test videos and with other seeds.

Axes: R replicates, M runs, N test videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NUM_REPLICATES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Accuracy of each run in percent: on all videos, and on each of R draws of N videos with replacement.

    Every run meets the same draws, so the difference of two runs is a paired difference (Efron & Tibshirani 1993, sec. 8 and 13.3).
    """

    point: Mapping[str, float]
    replicates: Mapping[str, np.ndarray]
    num_videos: Mapping[str, int]


def resample(hits: Mapping[str, np.ndarray], *, rng: np.random.Generator, num_replicates: int = NUM_REPLICATES) -> Resampled:
    """`hits[run]` says for each of the N videos, in one order for all runs, whether the run was right."""
    hit_MN = np.stack([np.asarray(h, dtype=np.float32) for h in hits.values()])
    num_videos = hit_MN.shape[1]
    assert num_videos < 2**24, "whole numbers up to here are exact in single precision"
    times_RN = np.empty((num_replicates, num_videos), dtype=np.float32)
    for times_N in times_RN:
        times_N[:] = np.bincount(rng.integers(0, num_videos, num_videos), minlength=num_videos)
    drawn_RM = (times_RN @ hit_MN.T).astype(np.float64) * (100 / num_videos)
    return Resampled(
        point={run: float(100 * hit_MN[m].mean()) for m, run in enumerate(hits)},
        replicates={run: drawn_RM[:, m] for m, run in enumerate(hits)},
        num_videos={run: len(hit) for run, hit in hits.items()},
    )


@dataclass(frozen=True, kw_only=True)
class SeedDraws:
    """Which seeds each replicate takes. Roles with the same seeds take the same ones: a student and its teachers stay together."""

    rng: np.random.Generator
    num_replicates: int = NUM_REPLICATES
    drawn: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def mean(self, replicates: Mapping[int, np.ndarray]) -> np.ndarray:
        """Mean over drawn seeds of one role's replicates.

        S - 1 of S seeds are drawn, so that the variance of their mean is s^2 / S without bias (Rao & Wu 1988, JASA 83:231); drawing
        S of S would make it (S - 1) / S of that, a third too small with three seeds. With one seed there is nothing to draw.
        """
        seeds = tuple(sorted(replicates))
        value_SR = np.stack([replicates[seed] for seed in seeds])
        if len(seeds) == 1:
            return value_SR[0]
        if seeds not in self.drawn:
            self.drawn[seeds] = self.rng.integers(0, len(seeds), (len(seeds) - 1, self.num_replicates))
        return np.take_along_axis(value_SR, self.drawn[seeds], axis=0).mean(0)


def interval(replicates: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """Percentile interval."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def t_interval(differences: Sequence[float], *, level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval for the mean of few differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    values = np.asarray(differences, dtype=np.float64)
    half = t_quantile(1 - (1 - level) / 2, len(values) - 1) * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def t_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t, from its distribution function over theta = atan(t / sqrt(df)), by the trapezoidal rule.

    F(t) - 1/2 = integral of cos^(df-1) from 0 to theta / its integral from -pi/2 to pi/2 (Abramowitz & Stegun 1964, 26.7).
    """
    angle = np.linspace(0.0, np.pi / 2, 20001)
    density = np.cos(angle) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    theta = np.interp((probability - 0.5) * 2 * area[-1], area, angle)
    return float(np.tan(theta) * degrees**0.5)
