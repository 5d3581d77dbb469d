"""A batch of clips, and the plan of a batch that says what to read for it.

The training process makes the plan; any process may read the clips (run/data/loader.py).

Axes: B videos, V clips of a video, T frames, H, W, C=3; N bytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.data.augment import apply_augment, to_device
from kdbatch.run.data.augment_params import AugmentParams, sample_augments
from kdbatch.run.data.clip_reader import Box, ReadRequest, clip_bytes
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.vocab.shards.index import Sample
from kdbatch.vocab.views import View

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class StoredVideo:
    """A stored video: its record, and the tar file that contains it."""

    tar: Path
    sample: Sample


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """A batch before it is read: one read request per video, and the shape and augmentation of each
    clip. The V clips of video 0 come first, then those of video 1.
    """

    requests: list[ReadRequest]
    shapes: list[Shape]
    augment_params: list[AugmentParams]
    num_views: int
    num_bytes: int
    labels: list[int]
    keys: list[str]
    extra: dict[str, np.ndarray]

    def to_batch(self, memory: np.ndarray) -> "Batch":
        """The batch, given the memory that the requests were read into."""
        memory_N = torch.from_numpy(memory)
        return Batch(
            clips=_split_clips(memory_N, self.shapes),
            augment_params=self.augment_params,
            num_views=self.num_views,
            label_B=torch.tensor(self.labels),
            keys=self.keys,
            extra={name: torch.from_numpy(values) for name, values in self.extra.items()},
            memory_N=memory_N,
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Cropped uint8 clips (THWC), not yet augmented. `clips` holds the V clips of video 0, then
    those of video 1, ...; `augment_params` has one entry per clip.

    The clips are consecutive parts of `memory_N`, which may be memory shared with the decode
    workers. It is reused once nothing refers to the batch or to its clips any more; or, where the
    batch was staged (run/data/prefetch.py), once `views` has called `on_copied`.
    """

    clips: list[Tensor]
    augment_params: list[AugmentParams]
    num_views: int
    label_B: Tensor
    keys: list[str]
    extra: dict[str, Tensor] = field(default_factory=dict)
    memory_N: Tensor | None = None
    on_copied: Callable[[], object] | None = None

    def views(self, *, size_pixels: int, device: torch.device) -> Tensor:
        """Augmented, normalised clips on the device, shape (V, B, C, T, H, W). A staged batch gives
        them once.
        """
        clips = self.clips
        if self.memory_N is not None:  # copy all clips to the device at once
            clips = self.in_memory(to_device(self.memory_N, device)).clips
        if self.on_copied:
            self.on_copied()
        clip = apply_augment(clips, self.augment_params, size_pixels=size_pixels, device=device)
        return clip.unflatten(0, (-1, self.num_views)).transpose(0, 1)

    def in_memory(self, memory_N: Tensor) -> "Batch":
        """The batch with its clips in `memory_N`, to which its own memory was copied."""
        shapes = [tuple(clip.shape) for clip in self.clips]
        return replace(self, clips=_split_clips(memory_N, shapes), memory_N=memory_N)

    def without_clips(self) -> "Batch":
        """The batch without what it was read into, which can be reused then."""
        return replace(self, clips=[], memory_N=None, on_copied=None)

    def select_videos(self, videos: slice) -> "Batch":
        """The batch of some of its videos, without clips: the caller slices the augmented clips.
        `videos` is a slice with both ends given.
        """
        clips = slice(videos.start * self.num_views, videos.stop * self.num_views)
        return replace(
            self.without_clips(),
            augment_params=self.augment_params[clips],
            label_B=self.label_B[videos],
            keys=self.keys[videos],
            extra={name: values[videos] for name, values in self.extra.items()},
        )


def _split_clips(memory_N: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    parts = memory_N.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def plan_batch(
    videos: Sequence[StoredVideo],
    requests: Sequence[ClipRequest],
    extra: dict[str, np.ndarray],
    *,
    view: View,
    rng: np.random.Generator,
    kept: slice = slice(None),
) -> BatchPlan:
    """Plan the videos of a batch that the slice `kept` selects.

    The augmentation is drawn for every clip of the batch, so that the clips of one rank do not
    depend on the number of ranks.
    """
    params = _sample_augments(videos, requests, view, rng)
    read_requests, shapes, num_bytes = [], [], 0
    for video, request, params_V in zip(videos[kept], requests[kept], params[kept], strict=True):
        boxes = [param.box for param in params_V]
        read_request, num_bytes = _read_request(video, request, boxes, offset=num_bytes)
        read_requests.append(read_request)
        shapes += [(request.frame_VT.shape[1], *box[2:], 3) for box in boxes]
    return BatchPlan(
        requests=read_requests,
        shapes=shapes,
        augment_params=[param for params_V in params[kept] for param in params_V],
        num_views=len(requests[0].draw_V),
        num_bytes=num_bytes,
        labels=[v.sample.label for v in videos[kept]],
        keys=[v.sample.key for v in videos[kept]],
        extra={name: _contiguous(values, kept) for name, values in extra.items()},
    )


def _contiguous(values: np.ndarray, kept: slice) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(values)[kept])


def _read_request(
    video: StoredVideo, request: ClipRequest, boxes: list[Box], *, offset: int
) -> tuple[ReadRequest, int]:
    """The request for the clips of one video, which start at byte `offset` of the batch; and the
    offset of the next video.
    """
    stored_VT: list[list[int]] = request.frame_VT.tolist()
    frames = sorted(set(chain.from_iterable(stored_VT)))
    rank_of = dict(zip(frames, range(len(frames)), strict=True)).__getitem__
    offsets = []
    for frame_T, box in zip(stored_VT, boxes, strict=True):
        offsets.append(offset)
        offset += clip_bytes(len(frame_T), box)
    read_request = ReadRequest(
        tar=video.tar,
        sample=video.sample,
        frames=frames,
        frame_ranks=[list(map(rank_of, frame_T)) for frame_T in stored_VT],
        boxes=boxes,
        offsets=offsets,
    )
    return read_request, offset


def _sample_augments(
    videos: Sequence[StoredVideo],
    requests: Sequence[ClipRequest],
    view: View,
    rng: np.random.Generator,
) -> list[list[AugmentParams]]:
    """Parameters per clip of each video; clips with the same number in `draw_V` share them."""
    counts = [max(request.draw_V) + 1 for request in requests]
    sizes = [(video.sample.height, video.sample.width) for video in videos]
    drawn = iter(
        sample_augments(
            view.augment,
            [size for size, count in zip(sizes, counts, strict=True) for _ in range(count)],
            [number for count in counts for number in range(count)],
            rng,
        )
    )
    params = []
    for request, count in zip(requests, counts, strict=True):
        own = list(islice(drawn, count))
        params.append([own[number] for number in request.draw_V])
    return params
