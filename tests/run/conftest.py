"""What every test of the run room stands on: one thread, chance that starts anew and is given back; and shards that several share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import clips_world as world
import pytest
import torch

from kdbatch.vocab.datasets import DATASETS


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.fixture(scope="session")
def all_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few videos of every data set, of three groups of pictures each. Read only: who breaks a tar copies it."""
    size = replace(world.SIZE, k400_train=2, min_frames=40, max_frames=50)
    return world.make_shards(tmp_path_factory.mktemp("all"), size=size, names=tuple(DATASETS))
