"""Draws studies whose truth is known: which test videos each run has right.

A run has video i of group g right where a normal score is below its threshold. The score adds, with
variances that sum to 1: what is common to all runs (half of it by group), what is particular to a
recipe (by group, and by video), and what is particular to one training (by video). The threshold of
a training varies around that of its recipe. The true accuracy of a recipe is that over all videos
and all trainings.

Axes: N test videos, G groups of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()


@dataclass(frozen=True, kw_only=True)
class World:
    """`seed_sd` is the standard deviation between trainings in points of accuracy.

    `common`, `recipe_group` and `recipe_video` are shares of the variance of a score; the rest is
    particular to one training. `recipe_group` sets how alike the videos of a group are in the
    difference of two recipes.
    """

    seed_sd: float = 0.6
    common: float = 0.7
    recipe_group: float = 0.06
    recipe_video: float = 0.12


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run: the name of its recipe, and the recipe's true accuracy, between 0 and 1."""

    recipe: str
    accuracy: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Which videos each run has right, and its true accuracy over all videos, in percent."""

    correct: dict[str, np.ndarray] = field(default_factory=dict)
    own_accuracy: dict[str, float] = field(default_factory=dict)


def draw_groups(
    num_videos: int, rng: np.random.Generator, *, smallest: int, largest: int
) -> list[str]:
    """The group of each video; a group has `smallest` to `largest` videos (UCF101: 4 to 7)."""
    names: list[str] = []
    while len(names) < num_videos:
        names += [f"g{len(names):05d}"] * int(rng.integers(smallest, largest + 1))
    return names[:num_videos]


def draw_correct(
    runs: Mapping[str, Training], groups: list[str], world: World, rng: np.random.Generator
) -> Drawn:
    """Draw every run of one set of test videos."""
    group_N = np.unique(np.array(groups), return_inverse=True)[1]
    num_videos, num_groups = len(group_N), int(group_N.max()) + 1

    def by_group(share: float) -> np.ndarray:
        return share**0.5 * rng.standard_normal(num_groups)[group_N]

    def by_video(share: float) -> np.ndarray:
        return share**0.5 * rng.standard_normal(num_videos)

    common_N = by_group(world.common / 2) + by_video(world.common / 2)
    recipe_N: dict[str, np.ndarray] = {}
    drawn = Drawn()
    for run, training in runs.items():
        if training.recipe not in recipe_N:
            own_N = by_group(world.recipe_group) + by_video(world.recipe_video)
            recipe_N[training.recipe] = common_N + own_N
        threshold = draw_threshold(training.accuracy, world.seed_sd, rng)
        training_share = 1 - world.common - world.recipe_group - world.recipe_video
        score_N = recipe_N[training.recipe] + by_video(training_share)
        drawn.correct[run] = score_N < threshold
        drawn.own_accuracy[run] = 100 * _NORMAL.cdf(threshold)
    return drawn


def draw_threshold(accuracy: float, seed_sd: float, rng: np.random.Generator) -> float:
    """A training's threshold; the mean accuracy over trainings is exactly `accuracy`.

    With a normal spread tau of the threshold t, the mean of cdf(t) is cdf(t / sqrt(1 + tau^2)).
    """
    quantile = _NORMAL.inv_cdf(accuracy)
    spread = seed_sd / 100 / _NORMAL.pdf(quantile)
    return quantile * (1 + spread**2) ** 0.5 + spread * float(rng.standard_normal())


def intraclass_correlation(value_N: np.ndarray, groups: list[str]) -> float:
    """How alike values of one group are: the one-way ANOVA estimator (Shrout & Fleiss 1979)."""
    group_N = np.unique(np.array(groups), return_inverse=True)[1]
    size_G = np.bincount(group_N)
    mean_G = np.bincount(group_N, weights=value_N) / size_G
    between = (size_G * (mean_G - value_N.mean()) ** 2).sum() / (len(size_G) - 1)
    within = ((value_N - mean_G[group_N]) ** 2).sum() / (len(value_N) - len(size_G))
    typical = (len(value_N) - (size_G**2).sum() / len(value_N)) / (len(size_G) - 1)
    return float((between - within) / (between + (typical - 1) * within))
