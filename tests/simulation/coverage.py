"""How often do 95 % intervals of a difference contain the true one?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from simulation.world import Training, World, draw_correct, draw_groups, intraclass_correlation

from kdbatch.report.stats.arms import Arm
from kdbatch.report.stats.bootstrap import SeedDraws, resample
from kdbatch.report.stats.comparisons import compare_arms

NUM_REPLICATES = 1000  # enough for the bounds of a 95 % interval
ACCURACY = {"a": 0.84, "b": 0.80}
# Shares of a recipe's variance by group and by video: how alike the videos of a group are in the
# difference of two recipes is measured, and stands in the table.
ALIKE = {"hardly": (0.05, 0.13), "somewhat": (0.13, 0.09), "very": (0.24, 0.02)}


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Shares of intervals that contain the truth, with and without the groups.

    With one seed the truth is the difference of the two trainings on all videos; an interval of
    one seed claims no more.
    """

    num_seeds: int
    seed_sd: float
    correlation: float
    grouped: float
    single: float


def simulate_coverage(
    num_seeds: int,
    alike: str,
    *,
    seed_sd: float,
    num_videos: int,
    num_studies: int,
    rng: np.random.Generator,
    ignore_groups: bool = True,
) -> Coverage:
    """Draw studies of two arms and count the intervals that contain the true difference.

    With `ignore_groups`, also those that do not know of the groups.
    """
    by_group, by_video = ALIKE[alike]
    world = World(seed_sd=seed_sd, recipe_group=by_group, recipe_video=by_video)
    arms = [_arm(title, num_seeds) for title in ACCURACY]
    runs = {
        run: Training(recipe=arm.title, accuracy=ACCURACY[arm.title])
        for arm in arms
        for run in arm.runs.values()
    }
    covered = {"grouped": 0, "single": 0}
    correlations = []
    for _ in range(num_studies):
        groups = draw_groups(num_videos, rng, smallest=4, largest=7)
        drawn = draw_correct(runs, groups, world, rng)
        own = drawn.own_accuracy
        truth = own["a0"] - own["b0"] if num_seeds == 1 else 4.0
        for name, used in (("grouped", groups), ("single", []))[: 1 + ignore_groups]:
            resampled = resample(
                drawn.correct,
                groups=used,
                seed=int(rng.integers(2**32)),
                num_replicates=NUM_REPLICATES,
            )
            draws = SeedDraws(num_replicates=NUM_REPLICATES)
            found = compare_arms("", dict(zip(arms, (1.0, -1.0), strict=True)), resampled, draws)
            assert found is not None and found.low is not None and found.high is not None
            covered[name] += found.low <= truth <= found.high
        correlations.append(_correlation(drawn.correct, num_seeds, groups))
    return Coverage(
        num_seeds=num_seeds,
        seed_sd=seed_sd,
        correlation=float(np.mean(correlations)),
        grouped=covered["grouped"] / num_studies,
        single=covered["single"] / num_studies,
    )


def _arm(title: str, num_seeds: int) -> Arm:
    runs = {seed: f"{title}{seed}" for seed in range(num_seeds)}
    return Arm(title=title, runs=runs, values=dict.fromkeys(runs, 0.0))


def _correlation(correct: dict[str, np.ndarray], num_seeds: int, groups: list[str]) -> float:
    """The correlation in a group of the difference of the two arms, averaged over seeds."""
    means = [
        np.mean([correct[f"{title}{seed}"] for seed in range(num_seeds)], axis=0)
        for title in ACCURACY
    ]
    return intraclass_correlation(means[0] - means[1], groups)


def coverage_table(num_studies: int) -> Iterator[str]:
    """Yield the lines of the table in docs/STATISTICS.md."""
    yield from (
        "| seeds | s.d. of a seed, points | correlation in a group | covers | without groups |",
        "|---:|---:|---:|---:|---:|",
    )
    for seed_sd in (0.4, 1.0):
        for num_seeds in (1, 2, 3, 5):
            for alike in ALIKE:
                rng = np.random.default_rng(
                    [num_seeds, int(10 * seed_sd), list(ALIKE).index(alike)]
                )
                found = simulate_coverage(
                    num_seeds,
                    alike,
                    seed_sd=seed_sd,
                    num_videos=3783,
                    num_studies=num_studies,
                    rng=rng,
                )
                yield (
                    f"| {num_seeds} | {seed_sd} | {found.correlation:.2f} | "
                    f"{100 * found.grouped:.1f} % | {100 * found.single:.1f} % |"
                )
