"""Checks from the shard index that videos are long enough for a pretext task."""

from collections.abc import Sequence

from kdbatch.base.errors import UserError
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.shards.index import Shard, ShardIndex
from kdbatch.vocab.shards.subset import shards_of
from kdbatch.vocab.tasks import TASKS

# With a smaller share of its subset's videos, a task would learn from another subset than the
# requested one.
MIN_SHARE = 0.5


def check_clip_length(recipe: Pretrain, index: ShardIndex, *, where: str) -> None:
    """Checks that at least half of the subset's videos are as long as the task's window.

    Shards of older versions have no lengths in the index and pass; the run itself then leaves out
    and counts the videos that are too short.

    Raises:
        UserError: fewer than half are long enough.
    """
    view, task = recipe.view, recipe.task
    need = task.window_frames(view.num_frames * view.stride_frames)
    known = [shard for shard in shards_of(index, recipe.data) if shard.lengths_seconds]
    if not known:
        return
    share = _share_of_at_least((need - 1e-6) / view.fps, known)
    if share >= MIN_SHARE:
        return
    seconds = [length for shard in known for length in shard.lengths_seconds]
    frames = sorted(int(length * view.fps + 1e-6) for length in seconds)
    subset = recipe.data.title
    fits = f"about {share:.0%} of {subset} have that" if share else f"none of {subset} has that"
    raise UserError(
        f"{where}: {TASKS[task.name].title} at complexity {task.complexity} needs {need} frames of "
        f"each video, {need / view.fps:.1f} s, and {fits}: {frames[0]} to {frames[-1]} frames, "
        f"half of them below {frames[len(frames) // 2]}. In the profile, lower clip.num_frames "
        f"(now {view.num_frames}) or clip.stride_frames (now {view.stride_frames}), or "
        f"tasks.{task.name}; or pretrain on longer videos. Then repeat the command."
    )


def _share_of_at_least(seconds: float, shards: Sequence[Shard]) -> float:
    """The approximate share of videos that last so long; 0 and 1 are exact."""
    num_long = sum(
        shard.num_videos
        * sum(length >= seconds for length in shard.lengths_seconds)
        / len(shard.lengths_seconds)
        for shard in shards
    )
    return num_long / max(1, sum(shard.num_videos for shard in shards))
