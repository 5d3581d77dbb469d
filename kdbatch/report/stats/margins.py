"""Margins: how far above a threshold an effect must be for its interval to clear it.

The error of an effect is the sum of a normal one, over test videos, and of Student's t, over seeds.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from kdbatch.report.stats.bootstrap import NUM_REPLICATES, t_quantile

_NORMAL_Z = np.linspace(-9.0, 9.0, 9001)
_NORMAL_CDF = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in _NORMAL_Z])
_RATIOS = np.concatenate([[0.0], np.geomspace(0.02, 50.0, 60)])
_NUM_HALVINGS = 36


def reachable_tail(tail: float) -> float:
    """Return the tail that a share of R replicates can show, counted as one more of R + 1.

    0 is a tail that no number of replicates below the threshold shows.
    """
    return math.floor(tail * (NUM_REPLICATES + 1)) / (NUM_REPLICATES + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class MarginTable:
    """Margins in units of the normal error's deviation, by the ratio of the other's to it."""

    margin: np.ndarray

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def of(cls, tail: float, degrees: float) -> "MarginTable":
        """Return the table for one tail and one number of degrees of freedom (at least 1)."""
        if tail <= 0:
            return cls(margin=np.full(len(_RATIOS), np.inf))
        student, weight = _student_nodes(degrees)
        low = np.zeros(len(_RATIOS))
        high = 10 + _RATIOS * 1.01 * float(t_quantile(1 - tail / 2, degrees))
        for _ in range(_NUM_HALVINGS):
            middle = (low + high) / 2
            above = np.interp(_RATIOS[:, None] * student - middle[:, None], _NORMAL_Z, _NORMAL_CDF)
            is_above = above @ weight > tail
            low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
        return cls(margin=(low + high) / 2)

    def margins(self, normal: float, student: np.ndarray) -> np.ndarray:
        """Return the margins of errors of these deviations; `normal` is above 0."""
        return normal * np.interp(student / normal, _RATIOS, self.margin)


def _student_nodes(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of Student's t and their probabilities, denser towards both ends."""
    edges = np.concatenate([np.geomspace(1e-7, 0.02, 60)[:-1], np.linspace(0.02, 0.5, 50)])
    edges = np.concatenate([[0.0], edges])
    upper = t_quantile(1 - (edges[1:] + edges[:-1]) / 2, degrees)
    weight = np.diff(edges)
    return np.concatenate([-upper, upper]), np.concatenate([weight, weight])
