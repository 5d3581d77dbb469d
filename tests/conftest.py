"""Fixtures for the tests of several rooms."""

import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdbatch.base.atomic_write import write_json
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shards.index import TRANSCODED, Part, Shard, ShardIndex

# Before torch is imported: tests share the cores, and sums keep their order.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# A write waits milliseconds for the disk, and tests write tens of thousands of files. Only a power
# cut could show what this loses; processes that tests start wait as ever.
os.fsync = lambda fd: None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, so that the last test to end on several workers is a short one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def restored_random_state() -> Iterator[None]:
    state = random.getstate()
    yield
    random.setstate(state)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sharded(in_tmp: Path) -> Callable[..., Config]:
    """Writes indexes of data sets and empty tars of the right size, which are enough to plan."""

    def write(**num_videos: int) -> Config:
        for dataset, count in num_videos.items():
            folder, index = in_tmp / "shards" / dataset, _index(dataset, count)
            write_json(folder / "index.json", dataclasses.asdict(index))
            for part in index.parts.values():
                for shard in part.shards:
                    (folder / shard.name).write_bytes(bytes(shard.num_bytes))
        return Config()

    return write


def _index(dataset: str, count: int) -> ShardIndex:
    splits = DATASETS[dataset].part_of
    part = DATASETS[dataset].parts[0]
    size = 1000
    shards = tuple(
        Shard(
            name=f"{part}-{i:05d}.tar",
            num_videos=size,
            num_rejected=0,
            num_frames=0,
            num_bytes=10,
            sha256=f"{dataset}{i}",
            fps=25.0,
        )
        for i in range(-(-count // size))
    )
    shares = {split: count // 2 for split, p in splits.items() if p == part}
    return ShardIndex(
        dataset=dataset,
        classes=tuple(f"class {i:03d}" for i in range(DATASETS[dataset].num_classes)),
        videos_per_shard=size,
        encoding=TRANSCODED,
        parts={
            part: Part(num_in_source=count, num_places=count, num_in_split=shares, shards=shards)
        },
    )
