"""The test videos that the runs of a plan are compared on, and their groups."""

from pathlib import Path

from kdbatch.base.folders.presence import is_present
from kdbatch.vocab.datasets import DATASETS, GroupedVideos
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.recipes import Distill, Finetune
from kdbatch.vocab.shards import ShardIndex, load_index, load_indexed_record


def find_test_videos(plan: Plan, shards_dir: Path) -> dict[str, GroupedVideos]:
    """Return the test videos of each run that predicts them.

    They are counted where the whole part of the data set is stored, else the published ones.

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
                is_stored = bool(test.digest) and is_present(shards_dir / test.dataset)
                index = load_index(shards_dir, test.dataset) if is_stored else None
                found[key] = _count(index, shards_dir, *key) if index else _published(*key)
            of_run[planned.run.id] = found[key]
    return of_run


def _published(dataset: str, split: str) -> GroupedVideos:
    known = DATASETS[dataset]
    num_videos = known.num_videos[split]
    return GroupedVideos(
        dataset=dataset,
        split=split,
        num_videos=num_videos,
        num_groups=max(1.0, num_videos / known.videos_per_group),
    )


def _count(index: ShardIndex, shards_dir: Path, dataset: str, split: str) -> GroupedVideos:
    groups = [
        sample.group
        for shard in index.part_of(split).shards
        for sample in load_indexed_record(shards_dir / dataset, shard).samples
        if split in sample.splits
    ]
    return GroupedVideos(
        dataset=dataset,
        split=split,
        num_videos=len(groups),
        num_groups=len(set(groups)),
        counted=True,
    )
