"""Do the videos last as long as a pretext task needs? Answered from the index, which has eleven
lengths of each shard's videos.
"""

import math
from collections.abc import Sequence

from kdbatch.base.errors import UserError
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes import Pretrain
from kdbatch.vocab.shards import Shard, ShardIndex, Subset
from kdbatch.vocab.tasks import TASKS

# a task that sees fewer of its subset's videos than this learns from another subset than the one
# that was asked for
MIN_SHARE = 0.5


def check_clip_length(recipe: Pretrain, index: ShardIndex, *, where: str) -> None:
    """Whether at least half of the subset's videos are as long as the task's window on the view's
    timeline.

    Shards that were indexed before lengths were kept say nothing, and pass; the run itself then
    leaves out and counts what is too short.

    Raises:
        UserError: they are not.
    """
    view, task = recipe.view, recipe.task
    need = task.window_frames(view.num_frames * view.stride_frames)
    known = [shard for shard in _shards(index, recipe.data) if shard.lengths_seconds]
    num_videos = sum(shard.num_videos for shard in known)
    share = sum(
        shard.num_videos * _share(shard, seconds=(need - 1e-6) / view.fps) for shard in known
    ) / max(1, num_videos)
    if not known or share >= MIN_SHARE:
        return
    lengths = sorted(
        int(length * view.fps + 1e-6) for shard in known for length in shard.lengths_seconds
    )
    fits = (
        f"about {share:.0%} of {recipe.data.title} have that"
        if share
        else f"none of {recipe.data.title} has that"
    )
    raise UserError(
        f"{where}: {TASKS[task.name].title} at complexity {task.complexity} needs {need} frames of each video, "
        f"{need / view.fps:.1f} s, and {fits}: {lengths[0]} to {lengths[-1]} frames, half of them below {lengths[len(lengths) // 2]}. "
        f"In the profile, lower clip.num_frames (now {view.num_frames}) or clip.stride_frames (now {view.stride_frames}), or "
        f"tasks.{task.name}; or pretrain on longer videos. Then type kdbatch plan again."
    )


def _shards(index: ShardIndex, subset: Subset) -> Sequence[Shard]:
    """Those that hold the subset. The last one may hold more."""
    shards = index.parts[DATASETS[subset.dataset].part_of[subset.split]].shards
    return (
        shards[: math.ceil(subset.num_places / index.videos_per_shard)]
        if subset.num_places
        else shards
    )


def _share(shard: Shard, *, seconds: float) -> float:
    """About which share of the shard's videos is long enough; 0 and 1 are exact."""
    return sum(length >= seconds for length in shard.lengths_seconds) / len(shard.lengths_seconds)
