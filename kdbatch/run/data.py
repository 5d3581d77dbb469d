"""Batches of clips as a pure function of (seed, step), whoever decodes them. Axes: B videos, V clips of a video, T frames, H, W, C=3."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kdbatch.run.augment import Draw, apply_draws, cut, draw_augment
from kdbatch.run.cache import FrameCache, read_frames
from kdbatch.run.chance import rng_for
from kdbatch.run.sampling import Request, timeline_frames
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.shards import Sample, Subset, load_samples
from kdbatch.vocab.views import View


@dataclass(frozen=True)
class Video:
    """A stored video: the tar that it lies in, and its record."""

    tar: Path
    sample: Sample


Choose = Callable[[Sequence[Video], np.random.Generator], tuple[list[Request], dict[str, np.ndarray]]]
"""Which clips a batch is made of, and numbers that belong to it (a speed, an order), each with one entry per video."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips as they travel: cut, uint8. `clips` holds V clips of video 0, then of video 1, ...; one draw per clip."""

    clips: list[Tensor]
    draws: list[Draw]
    num_views: int
    label_B: Tensor
    keys: list[str]
    extra: dict[str, Tensor] = field(default_factory=dict)

    def views(self, *, size_pixels: int, device: torch.device) -> Tensor:
        """Augmented, normalised clips on the device, shape (V, B, C, T, H, W)."""
        clip = apply_draws(self.clips, self.draws, size_pixels=size_pixels, device=device)
        return clip.unflatten(0, (-1, self.num_views)).transpose(0, 1)


def load_videos(shards_dir: Path, subset: Subset, *, view: View, need_frames: int = 1) -> tuple[list[Video], int]:
    """The subset's videos that are at least `need_frames` long on the view's timeline, and how many are shorter.

    Raises:
        UserError: shards are missing or changed, or no video is long enough.
    """
    videos = [Video(tar, sample) for tar, sample in load_samples(shards_dir, subset)]
    usable = [v for v in videos if timeline_frames(v.sample, view) >= need_frames]
    if not usable:
        raise UserError(f"{subset.title}: none of {len(videos)} videos has the {need_frames} frames that this run needs of each.")
    return usable, len(videos) - len(usable)


class TrainingBatches(Dataset[Batch]):
    """All batches of a training run, by global step.

    Each epoch is a permutation of the videos cut into batches whose sizes differ by at most one: every video once per epoch, and no
    small batch at the end that would upset batch normalisation.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        *,
        view: View,
        batch_clips: int,
        seed: int,
        choose: Choose,
        decoder: str,
        cache: FrameCache | None = None,
    ) -> None:
        self.videos, self.view, self.seed, self.choose, self.decoder, self.cache = videos, view, seed, choose, decoder, cache
        self.steps_per_epoch = -(-len(videos) // batch_clips)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        order = rng_for(self.seed, "order", epoch).permutation(len(self.videos))
        chosen = [self.videos[i] for i in np.array_split(order, self.steps_per_epoch)[place]]
        rng = rng_for(self.seed, "clips", epoch, place)
        requests, extra = self.choose(chosen, rng)
        return make_batch(chosen, requests, extra, view=self.view, rng=rng, decoder=self.decoder, cache=self.cache)


class EvaluationBatches(Dataset[Batch]):
    """The same clips of every video, `videos_per_batch` videos at a time, in stored order."""

    def __init__(
        self,
        videos: Sequence[Video],
        *,
        view: View,
        videos_per_batch: int,
        request: Callable[[Sample], Request],
        decoder: str,
        cache: FrameCache | None = None,
    ) -> None:
        self.groups = [videos[i : i + videos_per_batch] for i in range(0, len(videos), videos_per_batch)]
        self.view, self.request, self.decoder, self.cache = view, request, decoder, cache

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, place: int) -> Batch:
        chosen = self.groups[place]
        rng = rng_for(0, "evaluation", place)  # the centre view draws nothing from it
        requests = [self.request(v.sample) for v in chosen]
        return make_batch(chosen, requests, {}, view=self.view, rng=rng, decoder=self.decoder, cache=self.cache)


def make_batch(
    videos: Sequence[Video],
    requests: Sequence[Request],
    extra: dict[str, np.ndarray],
    *,
    view: View,
    rng: np.random.Generator,
    decoder: str,
    cache: FrameCache | None = None,
) -> Batch:
    """Decode what is requested, every video once, and cut it."""
    clips, draws = [], []
    for video, request in zip(videos, requests, strict=True):
        sample = video.sample
        drawn = [draw_augment(view.augment, height=sample.height, width=sample.width, rng=rng) for _ in range(max(request.draw_V) + 1)]
        wanted, place_VT = np.unique(request.frame_VT, return_inverse=True)
        frame_NHWC = read_frames(video.tar, sample, [int(i) for i in wanted], decoder=decoder, cache=cache)
        for place_T, draw in zip(place_VT.reshape(request.frame_VT.shape), request.draw_V, strict=True):
            clips.append(torch.from_numpy(cut(frame_NHWC[place_T], drawn[draw])))
            draws.append(drawn[draw])
    return Batch(
        clips=clips,
        draws=draws,
        num_views=len(requests[0].draw_V),
        label_B=torch.tensor([v.sample.label for v in videos]),
        keys=[v.sample.key for v in videos],
        extra={name: torch.from_numpy(np.asarray(values)) for name, values in extra.items()},
    )


def batches(source: Dataset[Batch], steps: range, *, num_workers: int) -> Iterator[Batch]:
    """The batches of `steps`, in order, decoded ahead by worker processes (0: here)."""
    loader = DataLoader(source, batch_size=None, sampler=steps, num_workers=num_workers, prefetch_factor=4 if num_workers else None)
    return iter(loader)
