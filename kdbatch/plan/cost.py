"""The estimated cost of a run: multiply-adds over an assumed speed.

Good for comparing runs, rough for hours.
"""

from collections.abc import Sequence

from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.recipes import Compare, Distill, Evaluation, Finetune, Pretrain, Recipe, Retrieve
from kdbatch.vocab.views import View

ASSUMED_GMAC_PER_SECOND = 20_000.0  # one current GPU in bf16 at a tenth of its peak
# Forward passes that a training step takes as long as: the backward pass costs twice the forward.
FORWARD_BACKWARD = 3
# Forward passes that the Gram matrices of all layers take about as long as.
GRAM = 1


def estimate_hours(
    recipe: Recipe, *, num_videos: int, num_test_videos: int, parents: Sequence[Backbone]
) -> float:
    """GPU-hours at the assumed speed, of all networks, without decoders and heads.

    A training run counts its epochs over `num_videos`, its teachers' forward passes and its test
    videos. `parents` are the backbones of the run's parents.
    """
    parents_gmac = sum(_gmac_per_clip(parent, recipe.view) for parent in parents)
    if isinstance(recipe, Compare):
        total = recipe.num_clips * (1 + GRAM) * parents_gmac
    else:
        own_gmac = _gmac_per_clip(recipe.backbone, recipe.view)
        if isinstance(recipe, Pretrain):
            total = _pretrain_clips(recipe, num_videos) * own_gmac
        elif isinstance(recipe, Retrieve):
            total = _test_clips(recipe.evaluation, num_videos + num_test_videos) * own_gmac
        else:
            total = _train_clips(recipe, num_videos) * own_gmac
            total += _test_clips(recipe.evaluation, num_test_videos) * own_gmac
            total += _teacher_clips(recipe, num_videos) * parents_gmac
    return total / ASSUMED_GMAC_PER_SECOND / 3600


def _pretrain_clips(recipe: Pretrain, num_videos: int) -> int:
    """Forward passes, of one clip each, that all steps take as long as."""
    num_trained, num_seen = recipe.task.clips_per_video
    per_video = num_trained * FORWARD_BACKWARD + num_seen
    return recipe.schedule.epochs * num_videos * per_video


def _train_clips(recipe: Finetune | Distill, num_videos: int) -> int:
    is_probe = isinstance(recipe, Finetune) and recipe.trained == "head"
    return recipe.schedule.epochs * num_videos * (1 if is_probe else FORWARD_BACKWARD)


def _teacher_clips(recipe: Finetune | Distill, num_videos: int) -> int:
    """Clips that each teacher sees: views that come again are not shown to it again."""
    if isinstance(recipe, Finetune):
        return 0
    epochs = recipe.schedule.epochs
    return min(epochs, recipe.teacher_views or epochs) * num_videos


def _test_clips(evaluation: Evaluation, num_videos: int) -> int:
    return num_videos * evaluation.num_clips * evaluation.num_crops


def _gmac_per_clip(backbone: Backbone, view: View) -> float:
    """10^9 multiply-adds of one clip's forward pass."""
    published = BACKBONE_SPECS[backbone.kind].gmac_per_clip
    return published * backbone.width**2 * (view.num_frames / 16) * (view.size_pixels / 112) ** 2
