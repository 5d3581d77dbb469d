"""Compares the frame rates of videos with the timelines that clips of them are cut on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from kdbatch.base.errors import UserError
from kdbatch.plan.subsets import SubsetFinder
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import Recipe, subsets_of
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.tasks.speed import NOMINAL, asked_fps
from kdbatch.vocab.views import ClipRates, View

# With more of its subset's videos left out, a task would learn from another subset than the
# requested one.
MAX_SLOW_SHARE = 0.1


def leave_out_slow(recipe: Pretrain, rates: Mapping[float, int], *, where: str) -> Pretrain:
    """The recipe, which leaves out the videos that are too slow for its task, if there are any.

    `rates` are the numbers of the subset's videos by frames per second.

    Raises:
        UserError: more than a tenth are too slow.
    """
    asked = asked_fps(recipe.task, recipe.view)
    num_slow = _num_slower(rates, asked)
    if not num_slow:
        return recipe
    num_videos = sum(rates.values())
    if num_slow <= MAX_SLOW_SHARE * num_videos:
        return replace(recipe, least_fps=NOMINAL * asked)
    task, subset = recipe.task, recipe.data.title
    all_or_some = "every video" if num_slow == num_videos else f"{num_slow / num_videos:.0%}"
    usable = max(rate for rate in rates if _num_slower(rates, rate) <= MAX_SLOW_SHARE * num_videos)
    fps = usable * recipe.view.fps / asked
    raise UserError(
        f"{where}: {TASKS[task.name].title} at complexity {task.complexity} cuts clips of "
        f"{asked:.5g} frames per second, and {all_or_some} of {subset} has fewer, "
        f"down to {min(rates):.5g}: its slow clips would repeat frames, which tells the speed "
        f"without looking at motion. Write timeline: {{fps: {fps:.5g}}} in the experiment, or the "
        "same fps in the clip of the profile, for every experiment, which keeps the runs that "
        "they share; or pretrain on videos of more frames per second. Then repeat the command."
    )


def clip_rates(recipes: Iterable[Recipe], subsets: SubsetFinder) -> tuple[ClipRates, ...]:
    """For each subset and timeline, the rates of the videos and how often clips repeat frames."""
    keys = dict.fromkeys(
        (subset, replace(recipe.view, size_pixels=1, augment=View.augment), least_fps)
        for recipe in {id(each): each for each in recipes}.values()  # seeds share them
        if not isinstance(recipe, Import)  # its clips are those of its students
        for subset, least_fps in _subsets_of(recipe)
    )
    return tuple(_clip_rates(*key, subsets=subsets) for key in keys)


def _subsets_of(recipe: Recipe) -> Iterator[tuple[Subset, float]]:
    for subset in subsets_of(recipe):
        yield subset, recipe.least_fps if isinstance(recipe, Pretrain) else 0.0


def _clip_rates(
    subset: Subset, view: View, least_fps: float, *, subsets: SubsetFinder
) -> ClipRates:
    rates = subsets.rates_of(subset)
    seconds = subsets.lengths_of(subset) or (None,)
    used = {rate: count for rate, count in rates.items() if rate >= least_fps}
    num_used = sum(used.values())
    repeated = sum(
        count * view.repeated_share(rate, length)
        for rate, count in used.items()
        for length in seconds
    )
    return ClipRates(
        subset=subset.title,
        fps=view.fps,
        stride_frames=view.stride_frames,
        num_frames=view.num_frames,
        least_video_fps=min(rates, default=None),
        most_video_fps=max(rates, default=None),
        repeated_share=repeated / (num_used * len(seconds)) if num_used else None,
        num_too_slow=sum(rates.values()) - num_used,
    )


def _num_slower(rates: Mapping[float, int], fps: float) -> int:
    return sum(count for rate, count in rates.items() if rate < NOMINAL * fps)
