"""Shards of a few real, small videos, and sources of batches over them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kdbatch.base.progress import silent
from kdbatch.run.data.batches import StoredVideo, TrainingBatches, load_videos
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import Sample, load_index
from kdbatch.vocab.shards.subset import find_subset
from kdbatch.vocab.views import View

VIEW = View(num_frames=4, stride_frames=2, fps=25.0, size_pixels=32)
SIZE = ToySize(
    k400_train=4,
    k400_val=0,
    ssv2_train=1,
    ssv2_validation=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_test=1,
    hmdb51_unused=0,
    num_motions=1,
    min_frames=12,
    max_frames=20,
    extra_frames=0,
)


def make_shards(folder: Path, *, size: ToySize = SIZE, names: Sequence[str] = ("k400",)) -> Path:
    """Make toys in `folder/toys` and shards of them; returns the folder of the shards."""
    write_toy(folder / "toys", processes=1, progress=silent, size=size)
    for name in names:
        build_shards(
            ShardRequest(dataset=name, processes=1, videos_per_shard=10),
            root=folder / "toys" / name,
            shards_dir=folder / "shards",
            progress=silent,
        )
    return folder / "shards"


def videos_of(shards_dir: Path, name: str = "k400") -> list[StoredVideo]:
    subset = find_subset(
        load_index(shards_dir, name), DATASETS[name].train_split, "all", where="here"
    )
    return load_videos(shards_dir, subset, view=VIEW)[0]


def source_of(
    videos: Sequence[StoredVideo],
    *,
    batch_clips: int = 6,
    seed: int = 0,
    num_clips: int = 2,
    **shared: int,
) -> TrainingBatches:
    """`num_clips` clips per video; the second shares the augmentation of the first."""

    def sample_clips(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        requests = []
        for video in chosen:
            clips = [random_clip(video.sample, VIEW, rng).frame_VT for _ in range(num_clips)]
            requests.append(
                ClipRequest(
                    frame_VT=np.concatenate(clips),
                    draw_V=(0,) * min(2, num_clips) + tuple(range(1, num_clips - 1)),
                )
            )
        return requests, {"number": rng.integers(1000, size=len(chosen))}

    return TrainingBatches(
        videos,
        view=VIEW,
        batch_clips=batch_clips,
        seed=seed,
        sample_clips=sample_clips,
        clip_reader=ClipReader(decoder="pyav"),
        **shared,
    )


def read_frames(
    tar: Path, sample: Sample, wanted: Sequence[int], *, clip_reader: ClipReader
) -> np.ndarray:
    """Frames (N, H, W, C) as a batch gets them, from the cache or the decoder."""
    frame_NHWC = np.empty((len(wanted), sample.height, sample.width, 3), np.uint8)
    clip_reader.read_frames(tar, sample, wanted, frame_NHWC.__setitem__)
    return frame_NHWC


@pytest.fixture(scope="session")
def all_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few videos of every data set, with three groups of pictures each. Read only: a test that
    breaks a tar copies it first.
    """
    size = replace(SIZE, k400_train=2, min_frames=40, max_frames=50)
    return make_shards(tmp_path_factory.mktemp("all"), size=size, names=tuple(DATASETS))
