"""What tests of pretext tasks stand on: records of videos that nobody reads, a network of a few
weights, batches without clips.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.vocab.shards import Sample


def sample_of(num_frames: int, fps: float = 25.0) -> Sample:
    sizes = {
        "width": 170,
        "height": 128,
        "offset": 0,
        "num_bytes": 0,
        "index_offset": 0,
        "index_bytes": 0,
        "crc32": 0,
    }
    where = {"key": "v", "place": 0, "label": 0, "splits": ("train",), "group": "", "extradata": ""}
    return Sample(num_frames=num_frames, fps=fps, source_fps=fps, **where, **sizes)


def videos(*num_frames: int, fps: float = 25.0) -> list[StoredVideo]:
    """One per length, each at a place of its own."""
    where = {
        "offset": 0,
        "num_bytes": 0,
        "index_offset": 0,
        "index_bytes": 0,
        "crc32": 0,
        "extradata": "00",
        "group": "",
    }
    about = {
        "label": 0,
        "splits": ("train",),
        "fps": fps,
        "source_fps": fps,
        "width": 64,
        "height": 48,
    }
    return [
        StoredVideo(Path("a.tar"), Sample(key=f"v{i}", place=i, num_frames=n, **about, **where))
        for i, n in enumerate(num_frames)
    ]


class TinyBackbone(nn.Module):
    """A convolution and batch normalisation, 6 features."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 1)
        self.bn = nn.BatchNorm3d(6)

    def forward_pooled(self, clip_BCTHW: Tensor) -> Tensor:
        return self.bn(self.conv(clip_BCTHW)).relu().mean((2, 3, 4))


def batch_of(places: Sequence[int], *, num_views: int = 3, **extra: np.ndarray) -> Batch:
    """The numbers of a batch: which video each row is of, and what else `choose` gave."""
    numbers = {"video": np.array(places)} | extra
    return Batch(
        clips=[],
        draws=[],
        num_views=num_views,
        label_B=torch.zeros(len(places)),
        keys=[f"v{p}" for p in places],
        extra={name: torch.from_numpy(np.asarray(values)) for name, values in numbers.items()},
    )


def ks_distance(value_N: np.ndarray, distribution: np.ndarray) -> float:
    """Largest distance between the empirical distribution of whole numbers and `distribution`,
    cumulative, at each of 0, 1, ...
    """
    found = np.bincount(value_N, minlength=len(distribution)).cumsum() / len(value_N)
    return float(np.abs(found - distribution).max())
