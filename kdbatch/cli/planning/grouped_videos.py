"""The test videos that the runs of a plan are compared on, and their groups."""

from pathlib import Path

from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.vocab.datasets import Dataset, GroupedVideos
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.shards.index import ShardIndex, load_indexed_record


def find_test_videos(plan: Plan, datasets: KnownDatasets) -> dict[str, GroupedVideos]:
    """Return the test videos of each run that predicts them.

    They are counted where the whole part of the data set is stored, else those that are known.

    Raises:
        UserError: a file of the shards is damaged.
    """
    found: dict[tuple[str, str], GroupedVideos] = {}
    of_run: dict[str, GroupedVideos] = {}
    for planned in plan.runs:
        recipe = planned.run.recipe
        if isinstance(recipe, Finetune | Distill):
            test = recipe.evaluation.test
            key = test.dataset, test.split
            if key not in found:
                known = datasets.find(test.dataset, where="datasets")
                index = datasets.index_of(test.dataset) if test.digest else None
                shards_dir = datasets.config.shards_dir
                found[key] = (
                    _count(index, known, shards_dir, test.split)
                    if index
                    else _published(known, test.split)
                )
            of_run[planned.run.id] = found[key]
    return of_run


def _published(known: Dataset, split: str) -> GroupedVideos:
    num_videos = known.num_videos[split]
    return GroupedVideos(
        dataset=known.name,
        title=known.title,
        split=split,
        num_videos=num_videos,
        num_groups=max(1.0, num_videos / known.videos_per_group),
    )


def _count(index: ShardIndex, known: Dataset, shards_dir: Path, split: str) -> GroupedVideos:
    groups = [
        sample.group
        for shard in index.part_of(split).shards
        for sample in load_indexed_record(shards_dir / known.name, shard).samples
        if split in sample.splits
    ]
    return GroupedVideos(
        dataset=known.name,
        title=known.title,
        split=split,
        num_videos=len(groups),
        num_groups=len(set(groups)),
        counted=True,
    )
