"""Batches of clips as a pure function of (seed, step), whoever reads them. Axes: B videos, N videos
of an epoch.

What a batch is made of is settled here, in the training process; reading it is left to others
(run/data/loader.py).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import Batch, BatchPlan, StoredVideo, plan_batch
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.loader import read_ahead, read_batch
from kdbatch.run.data.sampling import ClipRequest, timeline_frames
from kdbatch.run.rng import rng_for
from kdbatch.vocab.shards import Sample, Subset, load_samples
from kdbatch.vocab.views import View

SampleClips = Callable[
    [Sequence[StoredVideo], np.random.Generator], tuple[list[ClipRequest], dict[str, np.ndarray]]
]
"""Which clips a batch is made of, and numbers that belong to it (a speed, an order), each with one
entry per video.
"""


def load_videos(
    shards_dir: Path, subset: Subset, *, view: View, need_frames: int = 1
) -> tuple[list[StoredVideo], int]:
    """The subset's videos that are at least `need_frames` long on the view's timeline, and how many
    are shorter.

    Raises:
        UserError: shards are missing or changed, or no video is long enough.
    """
    videos = [StoredVideo(tar, sample) for tar, sample in load_samples(shards_dir, subset)]
    usable = [v for v in videos if timeline_frames(v.sample, view) >= need_frames]
    if not usable:
        raise UserError(
            f"{subset.title}: none of {len(videos)} videos has the {need_frames} frames that this run needs of each."
        )
    return usable, len(videos) - len(usable)


def split_epoch(order_N: np.ndarray, *, num_steps: int, world_size: int) -> list[np.ndarray]:
    """`order_N` as `num_steps` batches, each of which `world_size` processes can share evenly:
    process r takes [r::world_size].

    Where the number of videos is no multiple of `world_size`, the first of them come a second time
    at the end (at most world_size - 1; leaving some out instead would leave out others in each
    epoch, and small data sets are dear). So in every epoch every video is read once, every process
    has the same number of clips in each step, and nobody waits at the last step for a process that
    has none. Batches differ by at most world_size videos: no small one at the end that would upset
    batch normalisation.
    """
    num_rows = -(-len(order_N) // world_size)
    assert num_rows >= num_steps, (len(order_N), num_steps, world_size)
    padded = np.resize(order_N, num_rows * world_size)  # repeats from the start
    return [
        rows.reshape(-1) for rows in np.array_split(padded.reshape(num_rows, world_size), num_steps)
    ]


class TrainingBatches:
    """All batches of a training run, by global step; of each, the share of one of `world_size`
    processes that train together.

    With `repeat_epochs` n > 0 epoch e + n is epoch e again, and each clip's `extra` says in `view`
    which of the n it belongs to.

    Every process settles the whole batch and keeps its share, so the clips of a step are the same
    whatever the number of processes, where batches can be shared evenly (`split_epoch` pads the others).
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
                f"batches of {min(batch_clips, len(videos))} clips cannot be shared by {world_size} GPUs. Lower gpus, or raise batch_clips."
            )
        self.videos, self.view, self.clip_reader = videos, view, clip_reader
        self.seed, self.sample_clips = seed, sample_clips
        self.repeat_epochs, self.rank, self.world_size = repeat_epochs, rank, world_size
        self.steps_per_epoch = -(-len(videos) // batch_clips)
        self.clips_per_batch = (
            len(videos) // self.steps_per_epoch
        )  # of the smallest batch; others have up to `world_size` more
        self._shares = (-1, list[np.ndarray]())  # of the epoch that was asked for last

    def __getitem__(self, step: int) -> Batch:
        return read_batch(self.plan(step), self.clip_reader)

    def plan(self, step: int) -> BatchPlan:
        """What the batch of this step is made of. Nothing is read for it."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self.repeat_epochs:
            epoch %= self.repeat_epochs
        if self._shares[0] != epoch:
            order = rng_for(self.seed, "order", epoch).permutation(len(self.videos))
            self._shares = (
                epoch,
                split_epoch(order, num_steps=self.steps_per_epoch, world_size=self.world_size),
            )
        chosen = [self.videos[i] for i in self._shares[1][place]]
        rng = rng_for(self.seed, "clips", epoch, place)
        requests, extra = self.sample_clips(chosen, rng)
        if self.repeat_epochs:
            extra = {**extra, "view": np.full(len(chosen), epoch)}
        return plan_batch(
            chosen,
            requests,
            extra,
            view=self.view,
            rng=rng,
            kept=slice(self.rank, None, self.world_size),
        )


class EvaluationBatches:
    """The same clips of every video, `videos_per_batch` videos at a time, in stored order; of these
    batches the share of one of `world_size` processes, which come one after the other: batches are
    settled alike for any number of them.
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
        videos_per_batch = min(videos_per_batch, len(videos) // world_size)
        groups = [videos[i : i + videos_per_batch] for i in range(0, len(videos), videos_per_batch)]
        self.groups = groups[
            rank * len(groups) // world_size : (rank + 1) * len(groups) // world_size
        ]
        self.view, self.request, self.clip_reader = view, request, clip_reader

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, step: int) -> Batch:
        return read_batch(self.plan(step), self.clip_reader)

    def plan(self, step: int) -> BatchPlan:
        """What the batch is made of. Nothing is read for it."""
        chosen = self.groups[step]
        rng = rng_for(0, "evaluation", step)  # the centre view draws nothing from it
        return plan_batch(
            chosen, [self.request(v.sample) for v in chosen], {}, view=self.view, rng=rng
        )


def iterate_batches(
    source: TrainingBatches | EvaluationBatches, steps: Iterable[int], *, num_workers: int
) -> Iterator[Batch]:
    """The batches of `steps`, in order, read ahead by `num_workers` processes (0: here, each when
    it is asked for).

    The same batches bit for bit in any case. Nothing is read for steps that are not asked for, so a
    run resumes where it was.

    Raises:
        UserError: a video cannot be read, or a process was killed; the batches before that one have
        been given out.
    """
    if num_workers:
        return read_ahead(
            source.plan, steps, num_workers=num_workers, clip_reader=source.clip_reader
        )
    return (source[step] for step in steps)
