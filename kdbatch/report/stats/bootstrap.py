"""Accuracies, resampled: what they might have been on other test videos and with other seeds.

Axes: R replicates, M runs, N test videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NUM_REPLICATES = 2000
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Accuracy of each run in percent: on all videos, and on each of R draws of N videos with
    replacement.

    Every run meets the same draws, so the difference of two runs is a paired difference (Efron &
    Tibshirani 1993, sec. 8 and 13.3).
    """

    accuracy: Mapping[str, float]
    replicates: Mapping[str, np.ndarray]
    num_videos: Mapping[str, int]


def resample(
    correct: Mapping[str, np.ndarray],
    *,
    rng: np.random.Generator,
    num_replicates: int = NUM_REPLICATES,
) -> Resampled:
    """`hits[run]` says for each of the N videos, in one order for all runs, whether the run was
    right.
    """
    hit_MN = np.stack([np.asarray(h, dtype=np.float32) for h in correct.values()])
    num_videos = hit_MN.shape[1]
    assert num_videos < 2**24, "whole numbers up to here are exact in single precision"
    times_RN = np.empty((num_replicates, num_videos), dtype=np.float32)
    for times_N in times_RN:
        times_N[:] = np.bincount(rng.integers(0, num_videos, num_videos), minlength=num_videos)
    drawn_RM = (times_RN @ hit_MN.T).astype(np.float64) * (100 / num_videos)
    return Resampled(
        accuracy={run: float(100 * hit_MN[m].mean()) for m, run in enumerate(correct)},
        replicates={run: drawn_RM[:, m] for m, run in enumerate(correct)},
        num_videos={run: len(hit) for run, hit in correct.items()},
    )


@dataclass(frozen=True, kw_only=True)
class SeedDraws:
    """What training with other seeds might change, as errors that are added to replicates.

    Seeds are few. Drawn anew as the videos are, they could give nothing outside of the values that
    were seen: an interval of three seeds would hold the truth three times in four. So the error of
    their mean is drawn from the distribution that it has, Student's t.
    """

    rng: np.random.Generator
    num_replicates: int = NUM_REPLICATES
    quantiles: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def errors(self, values: Mapping[int, float]) -> np.ndarray:
        """(R,): the standard error of the mean of `values`, by seed, times Student's t. Of one seed
        there is nothing to be known: zeros.

        The t are R evenly spaced quantiles in random order, the same ones for the same seeds.
        """
        seeds = tuple(sorted(values))
        if len(seeds) < 2:
            return np.zeros(self.num_replicates)
        if seeds not in self.quantiles:
            upper = t_quantile(
                np.linspace(0.5, 1.0, self.num_replicates, endpoint=False)[1::2], len(seeds) - 1
            )
            self.quantiles[seeds] = self.rng.permutation(np.concatenate([-upper, upper]))
        return (
            self.quantiles[seeds] * float(np.std(list(values.values()), ddof=1)) / len(seeds) ** 0.5
        )


def percentile_interval(
    replicates: np.ndarray, *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Percentile interval."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def t_interval(
    differences: Sequence[float], *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float] | None:
    """Student's interval for the mean of few differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    values = np.asarray(differences, dtype=np.float64)
    half = (
        float(t_quantile(1 - (1 - level) / 2, len(values) - 1))
        * float(values.std(ddof=1))
        / len(values) ** 0.5
    )
    return float(values.mean()) - half, float(values.mean()) + half


def t_quantile(probability: float | np.ndarray, degrees: int) -> np.ndarray:
    """Quantiles of Student's t for probabilities of at least 1/2.

    By the trapezoidal rule from its distribution function over theta = atan(t / sqrt(df)):

    F(t) - 1/2 = integral of cos^(df-1) from 0 to theta / its integral from -pi/2 to pi/2
    (Abramowitz & Stegun 1964, 26.7).
    """
    angle = np.linspace(0.0, np.pi / 2, 20001)
    density = np.cos(angle) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    theta = np.interp((probability - 0.5) * 2 * area[-1], area, angle)
    return np.tan(theta) * degrees**0.5
