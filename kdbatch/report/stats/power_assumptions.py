"""The assumptions of power: how runs vary between seeds and over test videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.report.stats.verdicts import PUBLISHED_SEED_SD
from kdbatch.vocab.datasets import GroupedVideos
from kdbatch.vocab.plans.records import PlanRecord


@dataclass(frozen=True, kw_only=True)
class PowerAssumptions:
    """The variation of runs that power is computed from.

    `seed_sd` is the standard deviation between trainings of their accuracy over all videos, in
    points. Two trainings of one recipe differ in being right on the share `trainings_differ` of the
    test videos, trainings of two recipes on the share `recipes_differ`. The part that is particular
    to a recipe correlates by `group_correlation` between videos of a group. The last three are
    those of the simulated studies by which the intervals were checked.
    """

    seed_sd: float = PUBLISHED_SEED_SD
    trainings_differ: float = 0.12
    recipes_differ: float = 0.19
    group_correlation: float = 0.2

    def training_variance(self, videos: GroupedVideos) -> float:
        """Variance that a run's accuracy has by the test videos, without its recipe's."""
        return 100**2 * self.trainings_differ / 2 / videos.num_videos

    def recipe_variance(self, videos: GroupedVideos) -> float:
        """Variance that a recipe's accuracy has from the choice of test videos, in points²."""
        size = videos.num_videos / videos.num_groups
        alike = 1 + (size - 1) * self.group_correlation
        of_video = (self.recipes_differ - self.trainings_differ) / 2
        return 100**2 * of_video * alike / videos.num_videos


def pooled_seed_sd(
    records: Sequence[PlanRecord],
    accuracy: Mapping[str, float],
    videos: Mapping[str, GroupedVideos],
    assumed: PowerAssumptions,
) -> tuple[float, int]:
    """Return the standard deviation between seeds of finished runs, and its degrees of freedom.

    `accuracy` has the finished runs in percent. Runs of one role in one case differ in their seed;
    what of their variance comes from the number of test videos is subtracted.
    """
    groups: dict[tuple[str, str, str], set[str]] = {}
    for record in records:
        for cell in record.cells:
            if cell.run_id in accuracy and cell.run_id in videos:
                key = record.experiment, cell.role, f"{cell.case} {cell.fold}"
                groups.setdefault(key, set()).add(cell.run_id)
    squares, degrees = 0.0, 0
    for runs in {tuple(sorted(runs)) for runs in groups.values() if len(runs) > 1}:
        own = float(np.var([accuracy[run] for run in runs], ddof=1))
        of_videos = assumed.training_variance(videos[runs[0]])
        squares += (own - of_videos) * (len(runs) - 1)
        degrees += len(runs) - 1
    return (max(squares / degrees, 0.0) ** 0.5 if degrees else 0.0), degrees
