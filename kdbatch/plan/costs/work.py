"""The work of a run: clips that it reads and forward passes that it computes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import Recipe
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.tasks import TASKS

# Forward passes that a training step takes as long as: the backward pass costs twice the forward.
FORWARD_BACKWARD = 3
# Forward passes that the Gram matrices of all layers take about as long as.
GRAM = 1


@dataclass(frozen=True, kw_only=True)
class Work:
    """The clips that a part of a run reads, and `passes`: networks, each with the number of forward
    passes of one clip that the part takes as long as. Decoders and heads are not counted.

    `videos` are those that its steps show, each as often as it is shown.
    """

    clips: float = 0.0
    passes: tuple[tuple[Backbone, float], ...] = ()
    videos: float = 0.0
    num_steps: int = 0


def training_work(recipe: Recipe, *, num_videos: int, teachers: Sequence[Backbone]) -> Work:
    """The work of the training steps; none for a kind of run that does not train.

    `num_videos` is the size of the recipe's subset; `teachers` are the networks of a student's.
    """
    if isinstance(recipe, Import | Retrieve | Compare):
        return Work()
    epochs = recipe.schedule.epochs
    if isinstance(recipe, Pretrain):
        shown = num_videos
        clips, passes = _pretext_clips(recipe)
        computed = [(recipe.backbone, epochs * shown * passes)]
    else:
        shown = num_videos - _num_held_out(recipe, num_videos)
        clips = 1
        computed = [(recipe.backbone, epochs * shown * _passes_per_clip(recipe))]
        if isinstance(recipe, Distill):
            views = min(epochs, recipe.teacher_views or epochs)
            computed += [(teacher, views * shown) for teacher in teachers]
    return Work(
        clips=epochs * shown * clips,
        passes=tuple((network, float(number)) for network, number in computed),
        videos=epochs * shown,
        num_steps=epochs * max(1, math.ceil(shown / recipe.schedule.batch_clips)),
    )


def other_work(
    recipe: Recipe, *, num_videos: int, num_test_videos: int, compared: Sequence[Backbone]
) -> Work:
    """The work outside the training steps: held-out videos, tests, retrieval, CKA maps.

    `compared` are the networks of a map.
    """
    if isinstance(recipe, Pretrain):
        return Work()
    if isinstance(recipe, Import):
        if recipe.backbone is None or recipe.classifier is None:
            return Work()
        clips = _tested_clips(recipe.classifier.evaluation, num_test_videos)
        return Work(clips=clips, passes=((recipe.backbone, clips),))
    if isinstance(recipe, Compare):
        passes = float(recipe.num_clips * (1 + GRAM))
        return Work(
            clips=recipe.num_clips,
            passes=tuple((network, passes) for network in compared),
        )
    if isinstance(recipe, Retrieve):
        clips = _tested_clips(recipe.evaluation, num_videos + num_test_videos)
    else:
        clips = _tested_clips(recipe.evaluation, num_test_videos)
        clips += _held_out_clips(recipe, num_videos)
    return Work(clips=clips, passes=((recipe.backbone, clips),))


def _pretext_clips(recipe: Pretrain) -> tuple[int, int]:
    """Clips that are read of a video and step, and forward passes that they take as long as."""
    num_trained, num_seen = recipe.task.clips_per_video
    copies = num_trained if TASKS[recipe.task.name].trains_on_copies else 1
    return num_trained // copies + num_seen, num_trained * FORWARD_BACKWARD + num_seen


def _passes_per_clip(recipe: Finetune | Distill) -> int:
    is_probe = isinstance(recipe, Finetune) and recipe.trained == "head"
    return 1 if is_probe else FORWARD_BACKWARD


def _num_held_out(recipe: Finetune | Distill, num_videos: int) -> float:
    return recipe.selection.share * num_videos if recipe.selection else 0.0


def _held_out_clips(recipe: Finetune | Distill, num_videos: int) -> float:
    selection = recipe.selection
    if selection is None:
        return 0.0
    num_times = math.ceil(recipe.schedule.epochs / selection.every_epochs)
    return num_times * _num_held_out(recipe, num_videos) * selection.num_clips


def _tested_clips(evaluation: Evaluation, num_videos: int) -> float:
    return float(num_videos * evaluation.num_clips * evaluation.num_crops)
