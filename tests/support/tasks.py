"""For tests of pretext tasks: videos without data, a network of a few weights, empty batches."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.models import VideoBackbone
from kdbatch.vocab.shards.index import Sample


def sample_of(num_frames: int, fps: float = 25.0, *, position: int = 0) -> Sample:
    """A video of 170 x 128 pixels, without data."""
    return Sample(
        key=f"v{position}",
        place=position,
        label=0,
        splits=("train",),
        group="",
        num_frames=num_frames,
        fps=fps,
        source_fps=fps,
        width=170,
        height=128,
        offset=0,
        num_bytes=0,
        index_offset=0,
        index_bytes=0,
        crc32=0,
        extradata="",
    )


def videos(*num_frames: int, fps: float = 25.0) -> list[StoredVideo]:
    """One video per length, each at a position of its own."""
    samples = [sample_of(n, fps, position=i) for i, n in enumerate(num_frames)]
    return [StoredVideo(Path("a.tar"), sample) for sample in samples]


class TinyBackbone(VideoBackbone):
    """A convolution and batch normalisation, 6 features."""

    conv: nn.Conv3d
    bn: nn.BatchNorm3d

    def __init__(self) -> None:
        layers = {"conv": nn.Conv3d(3, 6, 1), "bn": nn.BatchNorm3d(6), "relu": nn.ReLU()}
        super().__init__(layers, stem=("relu",), units=(), feature_dim=6)


def tiny(backbone: VideoBackbone) -> TinyBackbone:
    """The same backbone, with its type."""
    assert isinstance(backbone, TinyBackbone)
    return backbone


def batch_of(positions: Sequence[int], *, num_views: int = 3, **extra: np.ndarray) -> Batch:
    """A batch without clips: the position of each row's video, and what `sample_clips` returned."""
    numbers = {"video": np.array(positions)} | extra
    return Batch(
        clips=[],
        augment_params=[],
        num_views=num_views,
        label_B=torch.zeros(len(positions)),
        keys=[f"v{position}" for position in positions],
        extra={name: torch.from_numpy(np.asarray(values)) for name, values in numbers.items()},
    )


def ks_distance(value_N: np.ndarray, distribution: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of whole numbers from a cumulative `distribution` at 0, 1, ..."""
    cumulative = np.bincount(value_N, minlength=len(distribution)).cumsum() / len(value_N)
    return float(np.abs(cumulative - distribution).max())
