"""Stand-ins of all four data sets, as small as their layouts allow."""

from pathlib import Path
from typing import Any

import pytest

from kdbatch.base.progress import silent
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.shard_request import ShardRequest

TINY = ToySize(
    k400_train=3,
    k400_val=1,
    ssv2_train=2,
    ssv2_validation=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_test=1,
    hmdb51_unused=1,
    num_motions=1,
    min_frames=18,
    max_frames=24,
    extra_frames=0,
)


@pytest.fixture(scope="session")
def tiny() -> ToySize:
    return TINY


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the four stand-ins. Read only: a test that damages videos copies them first."""
    folder = tmp_path_factory.mktemp("toys") / "toys"
    write_toy(folder, processes=1, progress=silent, size=TINY)
    return folder


def toy_request(dataset: str = "k400", **fields: Any) -> ShardRequest:
    """A request for the shards of one stand-in, made without worker processes."""
    return ShardRequest(dataset=dataset, **{"processes": 1, **fields})
