"""What a run will cost, before anything ran: multiply-adds over an assumed speed. Good for
comparing runs, rough for hours.
"""

from collections.abc import Sequence

from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Compare, Finetune, Pretrain, Recipe, Retrieve
from kdbatch.vocab.views import View

# Multiply-adds (10^9) of one 3x16x112x112 clip at width 1.
GMAC_PER_CLIP = {"r21d_10": 21.36, "r2plus1d_18": 40.52, "shufflenet_2x": 0.513}
ASSUMED_GMAC_PER_SECOND = 20_000.0  # one current GPU in bf16 at a tenth of its peak
FORWARD, FORWARD_BACKWARD = 1, 3
# the Gram matrices of all layers take about as long as the forward pass whose layers they are of
GRAM = 1


def estimate_hours(
    recipe: Recipe, *, num_videos: int, num_test_videos: int, parents: Sequence[Backbone]
) -> float:
    """GPU-hours at the assumed speed: training on `num_videos` with the teachers' forward passes,
    then the test videos. Decoders and heads are left out. `parents` are the backbones of the run's
    parents.
    """
    own_gmac = 0.0 if isinstance(recipe, Compare) else _gmac(recipe.backbone, recipe.view)
    parents_gmac = sum(_gmac(parent, recipe.view) for parent in parents)
    if isinstance(recipe, Compare):
        total = recipe.num_clips * parents_gmac * (FORWARD + GRAM)
    elif isinstance(recipe, Retrieve):
        total = (
            (num_videos + num_test_videos)
            * recipe.evaluation.num_clips
            * recipe.evaluation.num_crops
            * own_gmac
            * FORWARD
        )
    elif isinstance(recipe, Pretrain):
        learnt, seen = recipe.task.clips_per_video
        total = (
            recipe.schedule.epochs
            * num_videos
            * (learnt * FORWARD_BACKWARD + seen * FORWARD)
            * own_gmac
        )
    else:
        probe = isinstance(recipe, Finetune) and recipe.trained == "head"
        per_clip = own_gmac * (FORWARD if probe else FORWARD_BACKWARD)
        total = recipe.schedule.epochs * num_videos * per_clip
        if not isinstance(
            recipe, Finetune
        ):  # what views come again need not be shown to the teachers again
            total += (
                min(recipe.schedule.epochs, recipe.teacher_views or recipe.schedule.epochs)
                * num_videos
                * parents_gmac
                * FORWARD
            )
        total += (
            num_test_videos
            * recipe.evaluation.num_clips
            * recipe.evaluation.num_crops
            * own_gmac
            * FORWARD
        )
    return total / ASSUMED_GMAC_PER_SECOND / 3600


def _gmac(backbone: Backbone, view: View) -> float:
    """Of one clip's forward pass."""
    return (
        GMAC_PER_CLIP[backbone.kind]
        * backbone.width**2
        * view.num_frames
        / 16
        * (view.size_pixels / 112) ** 2
    )
