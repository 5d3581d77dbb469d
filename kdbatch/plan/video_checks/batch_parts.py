"""Checks that batches can be trained on: shared by the GPUs of a run, and processed in parts."""

import math

from kdbatch.base.errors import UserError
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.plans.plan import PlannedRun
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.tasks import TASKS


def check_batches(item: PlannedRun, *, num_videos: int, has_gpus: bool, where: str) -> None:
    """Checks the smallest batch of a run that trains on `num_videos`, and the parts of a full one.

    Raises:
        UserError: there are more GPUs than clips, clips are compared and there is one, or batch
            normalisation has one value of a channel; the message starts with `where`.
    """
    recipe = item.run.recipe
    if not isinstance(recipe, Pretrain | Finetune | Distill) or not num_videos:
        return
    ranks = item.resources.num_tasks if has_gpus else 1
    clips, parts = recipe.schedule.batch_clips, recipe.schedule.num_micro_batches
    field = f"{where}: {item.title}: batch_clips: found {clips:,}"
    shared = f" for {ranks} GPUs" if ranks > 1 else ""
    if min(clips, num_videos) < ranks:
        raise UserError(
            f"{field}{shared} and {num_videos:,} videos: a GPU would have no clip. Write at least "
            f"{ranks}, or lower gpus or nodes of {recipe.kind} in kdbatch.toml."
        )
    if (compares := _compares(recipe)) and min(clips, num_videos) < 2:
        raise UserError(f"{field}, and {compares} compares the videos of a batch. Write 2 or more.")
    if _smallest(recipe, num_videos, ranks) // parts < 2 and (network := _one_position(recipe)):
        parted = f" in {parts} parts" if parts > 1 else ""
        raise UserError(
            f"{field} of {num_videos:,} videos{shared}{parted}: a part of a batch has one, and "
            f"batch normalisation needs two values of a channel, but a clip of "
            f"{recipe.view.num_frames} frames and {recipe.view.size_pixels} pixels has one in the "
            f"last map of {network}. Write {4 * ranks * parts} or more, or larger clips."
        )


def _smallest(recipe: Pretrain | Finetune | Distill, num_videos: int, ranks: int) -> int:
    """A rank's videos of the smallest batch (run/data/batches.py:split_epoch); of a full one where
    only the run knows how many videos it holds out or leaves out.
    """
    clips = min(recipe.schedule.batch_clips, num_videos)
    if isinstance(recipe, Pretrain) or recipe.selection:
        return clips // ranks
    return math.ceil(num_videos / ranks) // math.ceil(num_videos / clips)


def _compares(recipe: Pretrain | Finetune | Distill) -> str:
    """The task or loss that only compares the clips of a batch; empty where there is none."""
    if isinstance(recipe, Pretrain):
        spec = TASKS[recipe.task.name]
        return spec.title if spec.compares_batch else ""
    if isinstance(recipe, Distill) and LOSS_SPECS[recipe.loss].needs_whole_batch:
        return f"loss: {recipe.loss}"
    return ""


def _one_position(recipe: Pretrain | Finetune | Distill) -> str:
    """The title of the network, where one clip is one position of its last normalised map."""
    if isinstance(recipe, Pretrain) and recipe.task.clips_per_video[0] > 1:
        return ""
    if isinstance(recipe, Finetune) and recipe.trained == "head":
        return ""
    spec, view = BACKBONE_SPECS[recipe.backbone.kind], recipe.view
    frames, pixels = spec.position
    return spec.title if view.num_frames <= frames and view.size_pixels <= pixels else ""
