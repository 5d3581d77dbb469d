"""A batch: settled in the training process, read by whoever is free, handed over as it was read.

Axes: B videos, V clips of a video, T frames, H, W, C=3; N bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.data.augment import AugmentParams, apply_augment, sample_augment
from kdbatch.run.data.clip_reader import ReadRequest, clip_bytes
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.vocab.shards import Sample
from kdbatch.vocab.views import View

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class StoredVideo:
    """A stored video: the tar that it lies in, and its record."""

    tar: Path
    sample: Sample


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """A batch before it is read: who has to be read, and what each clip will be. V clips of video 0
    come first, then those of video 1.
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
        """The batch, given the bytes that were read."""
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
    """Clips as they travel: cut, uint8, THWC. `clips` holds V clips of video 0, then of video 1,
    ...; one draw per clip.

    They lie one after the other in `memory_N`, which may be shared with the processes that read: it
    is theirs again when nothing refers to the batch or to its clips any more.
    """

    clips: list[Tensor]
    augment_params: list[AugmentParams]
    num_views: int
    label_B: Tensor
    keys: list[str]
    extra: dict[str, Tensor] = field(default_factory=dict)
    memory_N: Tensor | None = None

    def views(self, *, size_pixels: int, device: torch.device) -> Tensor:
        """Augmented, normalised clips on the device, shape (V, B, C, T, H, W)."""
        clips = self.clips
        if self.memory_N is not None:  # all clips go over in one piece
            clips = _split_clips(
                _to_device(self.memory_N, device), [tuple(clip.shape) for clip in clips]
            )
        clip = apply_augment(clips, self.augment_params, size_pixels=size_pixels, device=device)
        return clip.unflatten(0, (-1, self.num_views)).transpose(0, 1)

    def select_videos(self, videos: slice) -> "Batch":
        """All but the clips of some of its videos, `videos` a slice with both ends; their clips are
        cut from the augmented ones.
        """
        return replace(
            self,
            clips=[],
            memory_N=None,
            augment_params=self.augment_params[
                videos.start * self.num_views : videos.stop * self.num_views
            ],
            label_B=self.label_B[videos],
            keys=self.keys[videos],
            extra={name: values[videos] for name, values in self.extra.items()},
        )


def _to_device(memory_N: Tensor, device: torch.device) -> Tensor:
    """A GPU fetches pinned memory by itself, while the host goes on."""
    return (
        memory_N.pin_memory().to(device, non_blocking=True)
        if device.type == "cuda"
        else memory_N.to(device)
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
    """Draw the augmentation of every clip of the batch; keep what falls into `share`, a slice of
    its videos.
    """
    drawn = [
        _sample_augments(video.sample, request, view, rng)
        for video, request in zip(videos, requests, strict=True)
    ]
    readings, shapes, num_bytes = [], [], 0
    for video, request, draws in zip(videos[kept], requests[kept], drawn[kept], strict=True):
        frames, place_VT = np.unique(request.frame_VT, return_inverse=True)
        places: list[list[int]] = [
            place_T.tolist() for place_T in place_VT.reshape(request.frame_VT.shape)
        ]
        offsets = []
        for place_T, draw in zip(places, draws, strict=True):
            offsets.append(num_bytes)
            shapes.append((len(place_T), *draw.box[2:], 3))
            num_bytes += clip_bytes(len(place_T), draw.box)
        boxes = [draw.box for draw in draws]
        readings.append(
            ReadRequest(
                tar=video.tar,
                sample=video.sample,
                frames=frames.tolist(),
                frame_ranks=places,
                boxes=boxes,
                offsets=offsets,
            )
        )
    return BatchPlan(
        requests=readings,
        shapes=shapes,
        augment_params=[draw for draws in drawn[kept] for draw in draws],
        num_views=len(requests[0].draw_V),
        num_bytes=num_bytes,
        labels=[v.sample.label for v in videos[kept]],
        keys=[v.sample.key for v in videos[kept]],
        extra={
            name: np.ascontiguousarray(np.asarray(values)[kept]) for name, values in extra.items()
        },
    )


def _sample_augments(
    sample: Sample, request: ClipRequest, view: View, rng: np.random.Generator
) -> list[AugmentParams]:
    """One draw per clip; clips with one number share one."""
    drawn = [
        sample_augment(
            view.augment, height=sample.height, width=sample.width, rng=rng, draw_number=number
        )
        for number in range(max(request.draw_V) + 1)
    ]
    return [drawn[number] for number in request.draw_V]
