"""Resamples accuracies over test videos and over seeds.

Axes: R replicates, M runs, N test videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NUM_REPLICATES = 2000
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Accuracy of each run in percent, on all videos and on R draws of N videos with replacement.

    All runs share the same draws, so the difference of two runs is a paired difference (Efron &
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
    """Draw bootstrap replicates of the accuracies of M runs.

    `correct[run]`, shape (N,), is true where the run's prediction is right. The order of the N
    videos is the same for all runs.
    """
    correct_MN = np.stack([np.asarray(row, dtype=np.float32) for row in correct.values()])
    num_videos = correct_MN.shape[1]
    assert num_videos < 2**24, "single precision is exact for whole numbers below 2**24"
    count_RN = np.empty((num_replicates, num_videos), dtype=np.float32)
    for count_N in count_RN:
        count_N[:] = np.bincount(rng.integers(0, num_videos, num_videos), minlength=num_videos)
    accuracy_RM = (count_RN @ correct_MN.T).astype(np.float64) * (100 / num_videos)
    return Resampled(
        accuracy={run: float(100 * correct_MN[m].mean()) for m, run in enumerate(correct)},
        replicates={run: accuracy_RM[:, m] for m, run in enumerate(correct)},
        num_videos={run: len(row) for run, row in correct.items()},
    )


@dataclass(frozen=True, kw_only=True)
class SeedDraws:
    """Errors that training with other seeds may add to replicates.

    A bootstrap over few seeds cannot leave the range of the observed values: an interval of three
    seeds would cover the truth three times in four. The error of their mean is therefore drawn from
    its distribution, Student's t.
    """

    rng: np.random.Generator
    num_replicates: int = NUM_REPLICATES
    quantiles: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def errors(self, values: Mapping[int, float]) -> np.ndarray:
        """Return draws of the error of the mean of `values` (by seed), shape (R,).

        A draw is the standard error of the mean times a value of Student's t. These values are R
        evenly spaced quantiles in random order, and the same for the same seeds. One seed gives no
        estimate of the error: the draws are zeros.
        """
        seeds = tuple(sorted(values))
        if len(seeds) < 2:
            return np.zeros(self.num_replicates)
        if seeds not in self.quantiles:
            probability = np.linspace(0.5, 1.0, self.num_replicates, endpoint=False)[1::2]
            upper = t_quantile(probability, len(seeds) - 1)
            self.quantiles[seeds] = self.rng.permutation(np.concatenate([-upper, upper]))
        deviation = float(np.std(list(values.values()), ddof=1))
        return self.quantiles[seeds] * deviation / len(seeds) ** 0.5


def percentile_interval(
    replicates: np.ndarray, *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Return the bounds between which the middle `level` of the replicates lie."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def t_interval(
    differences: Sequence[float], *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float] | None:
    """Return Student's interval for the mean of few differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    values = np.asarray(differences, dtype=np.float64)
    quantile = float(t_quantile(1 - (1 - level) / 2, len(values) - 1))
    half = quantile * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def t_quantile(probability: float | np.ndarray, degrees: int) -> np.ndarray:
    """Return quantiles of Student's t for probabilities of at least 1/2.

    The distribution function is integrated by the trapezoidal rule over theta = atan(t / sqrt(df)):

    F(t) - 1/2 = integral of cos^(df-1) from 0 to theta / its integral from -pi/2 to pi/2
    (Abramowitz & Stegun 1964, 26.7).
    """
    angle = np.linspace(0.0, np.pi / 2, 20001)
    density = np.cos(angle) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    theta = np.interp((probability - 0.5) * 2 * area[-1], area, angle)
    return np.tan(theta) * degrees**0.5
