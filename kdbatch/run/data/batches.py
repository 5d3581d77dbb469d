"""Batches of training and evaluation as a pure function of (seed, step), whichever process reads.

Axes: B videos, N videos of an epoch.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import Batch, BatchPlan, StoredVideo, plan_batch
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.loader import read_ahead, read_batch
from kdbatch.run.data.sampling import ClipRequest, timeline_frames
from kdbatch.run.rng import rng_for
from kdbatch.vocab.shards.index import Sample
from kdbatch.vocab.shards.subset import Subset, load_samples
from kdbatch.vocab.views import View

SampleClips = Callable[
    [Sequence[StoredVideo], np.random.Generator], tuple[list[ClipRequest], dict[str, np.ndarray]]
]
"""Draws the clips of a batch: one request per video, and arrays of labels that a task needs (a
speed, a permutation) with one entry per video.
"""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """The numbers of videos that a run does not use."""

    num_slow: int
    num_short: int


def load_videos(
    shards_dir: Path, subset: Subset, *, view: View, need_frames: int = 1, least_fps: float = 0.0
) -> tuple[list[StoredVideo], LeftOut]:
    """The videos of a subset with at least `need_frames` frames and `least_fps` frames per second.

    Frames are counted on the view's timeline (run/data/sampling.py), the rate is that of the stored
    frames. A video that is both too slow and too short counts as too slow.

    Raises:
        UserError: shards are missing or changed, or no video can be used.
    """
    videos = [StoredVideo(tar, sample) for tar, sample in load_samples(shards_dir, subset)]
    fast = [v for v in videos if v.sample.fps >= least_fps]
    usable = [v for v in fast if timeline_frames(v.sample, view) >= need_frames]
    if not usable:
        rate = f", at {least_fps:.5g} or more per second," if least_fps else ""
        raise UserError(
            f"{subset.title}: none of {len(videos)} videos has the {need_frames} frames{rate} that "
            "this run needs of each."
        )
    left_out = LeftOut(num_slow=len(videos) - len(fast), num_short=len(fast) - len(usable))
    return usable, left_out


def split_epoch(order_N: np.ndarray, *, num_steps: int, world_size: int) -> list[np.ndarray]:
    """Split an epoch into `num_steps` batches whose sizes are multiples of `world_size`.

    Rank r takes [r::world_size] of each batch, so all ranks have the same number of clips in each
    step, and no rank waits at the last step for one that has none. Batches differ by at most
    `world_size` videos: there is no small last batch that would upset batch normalisation.

    Where the number of videos is no multiple of `world_size`, the first videos of `order_N` (at
    most world_size - 1) are repeated at the end. Every video is read at least once per epoch;
    dropping the remainder instead would drop different videos in each epoch, which costs too much
    on small data sets.
    """
    num_rows = -(-len(order_N) // world_size)
    assert num_rows >= num_steps, (len(order_N), num_steps, world_size)
    padded = np.resize(order_N, num_rows * world_size)  # repeats from the start
    rows = padded.reshape(num_rows, world_size)
    return [part.reshape(-1) for part in np.array_split(rows, num_steps)]


class TrainingBatches:
    """The batches of a training run, by global step: of each, the videos of this rank.

    With `repeat_epochs` n > 0, epoch e + n repeats epoch e. `extra["view"]` of each clip is the
    number of the epoch that it belongs to (0 to n - 1 where epochs are repeated).

    Every rank plans the whole batch and keeps its own part. So the clips of a step do not depend on
    the number of ranks, as long as it divides the batches evenly (`split_epoch` pads the others).
    """

    def __init__(
        self,
        videos: Sequence[StoredVideo],
        *,
        view: View,
        batch_clips: int,
        seed: int,
        sample_clips: SampleClips,
        clip_reader: ClipReader,
        repeat_epochs: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert 0 <= rank < world_size
        if batch_clips < world_size or len(videos) < world_size:
            raise UserError(
                f"batches of {min(batch_clips, len(videos))} clips cannot be shared by "
                f"{world_size} GPUs. Lower gpus, or raise batch_clips."
            )
        self.videos, self.view, self.clip_reader = videos, view, clip_reader
        self.seed, self.sample_clips = seed, sample_clips
        self.repeat_epochs, self.rank, self.world_size = repeat_epochs, rank, world_size
        self.steps_per_epoch = -(-len(videos) // batch_clips)
        # Of the smallest batch; others have up to `world_size` more.
        self.clips_per_batch = len(videos) // self.steps_per_epoch
        self._epoch_split = (-1, list[np.ndarray]())  # the last epoch that was planned, its batches

    def __getitem__(self, step: int) -> Batch:
        return read_batch(self.plan(step), self.clip_reader)

    def plan(self, step: int) -> BatchPlan:
        """Plan the batch of a global step without reading anything."""
        epoch, step_of_epoch = divmod(step, self.steps_per_epoch)
        if self.repeat_epochs:
            epoch %= self.repeat_epochs
        videos = [self.videos[i] for i in self._batches_of_epoch(epoch)[step_of_epoch]]
        rng = rng_for(self.seed, "clips", epoch, step_of_epoch)
        requests, extra = self.sample_clips(videos, rng)
        extra = {**extra, "view": np.full(len(videos), epoch)}
        kept = slice(self.rank, None, self.world_size)
        return plan_batch(videos, requests, extra, view=self.view, rng=rng, kept=kept)

    def _batches_of_epoch(self, epoch: int) -> list[np.ndarray]:
        """Indexes of the videos of each batch; cached until another epoch is planned."""
        if self._epoch_split[0] != epoch:
            order_N = rng_for(self.seed, "order", epoch).permutation(len(self.videos))
            parts = split_epoch(order_N, num_steps=self.steps_per_epoch, world_size=self.world_size)
            self._epoch_split = (epoch, parts)
        return self._epoch_split[1]


class EvaluationBatches:
    """The same clips of every video in stored order, `videos_per_batch` videos at a time: of these
    batches, a contiguous range for each rank.

    The batches themselves do not depend on the number of ranks unless there are too few videos for
    all of them.
    """

    def __init__(
        self,
        videos: Sequence[StoredVideo],
        *,
        view: View,
        videos_per_batch: int,
        request: Callable[[Sample], ClipRequest],
        clip_reader: ClipReader,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert 0 <= rank < world_size
        if len(videos) < world_size:
            raise UserError(
                f"{len(videos)} videos cannot be shared by {world_size} GPUs. Lower gpus."
            )
        size = min(videos_per_batch, len(videos) // world_size)
        groups = [videos[i : i + size] for i in range(0, len(videos), size)]
        start, end = (r * len(groups) // world_size for r in (rank, rank + 1))
        self.groups = groups[start:end]
        self.view, self.request, self.clip_reader = view, request, clip_reader

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, step: int) -> Batch:
        return read_batch(self.plan(step), self.clip_reader)

    def plan(self, step: int) -> BatchPlan:
        """Plan a batch without reading anything."""
        videos = self.groups[step]
        rng = rng_for(0, "evaluation", step)  # the centre view draws nothing from it
        requests = [self.request(v.sample) for v in videos]
        return plan_batch(videos, requests, {}, view=self.view, rng=rng)


def iterate_batches(
    source: TrainingBatches | EvaluationBatches,
    steps: Iterable[int],
    *,
    num_workers: int,
    stage: Callable[[Batch], Batch] = lambda batch: batch,
) -> Generator[Batch, None, None]:
    """The batches of `steps`, in order, prefetched by `num_workers` processes, after `stage`
    (`run/data/prefetch.py:staging`).

    With 0 workers this process reads each batch when it is asked for. The batches are the same bit
    for bit in any case. Nothing is read for other steps, so a run resumes where it stopped.

    Raises:
        UserError: a video cannot be read, or a worker was killed. The batches before the affected
            one are yielded first.
    """
    if num_workers:
        return read_ahead(
            source.plan,
            steps,
            num_workers=num_workers,
            clip_reader=source.clip_reader,
            stage=stage,
        )
    return (stage(source[step]) for step in steps)
