"""Networks with random weights, or with those of finished runs, whose hashes are checked."""

import logging
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import torch

from kdbatch.base.command_lines import remove_and_resume
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.run.checkpoint import load_weights, read_weights
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.models.layers.folding import fold_batch_norms
from kdbatch.run.rng import seed_for
from kdbatch.run.train.teacher_logit_cache import RecordedLogits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.done import load_done
from kdbatch.vocab.extensions.sources import check_code
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.status import RepairAdvice

_log = logging.getLogger(__name__)


def new_classifier(
    backbone: Backbone, data: Subset, *, seed: int, dropout: float = 0.0
) -> Classifier:
    """A classifier of the classes of `data`, whose weights depend only on the seed and the
    architecture. A student and its labels-only control therefore start from equal weights.
    """
    torch.manual_seed(seed_for(seed, "weights"))
    return Classifier(build_backbone(backbone), num_classes=data.num_classes, dropout=dropout)


def recorded_sha256(folder: RunFolder) -> str:
    """The hash of the weights that a finished run recorded; empty where it recorded none."""
    done = load_done(folder.done, warn=_log.warning)
    return done.facts.model_sha256 if done else ""


def checked_weights(folder: RunFolder) -> Path:
    """Return the weights file of a finished run after comparing its hash with the recorded one.

    Raises:
        UserError: the file is missing or is not what the run wrote.
    """
    if not is_present(folder.model) or sha256_of(folder.model) != recorded_sha256(folder):
        raise UserError(
            f"{folder.model}: is missing, or not what its run wrote. "
            f"{RepairAdvice(folder=folder.path)}"
        )
    return folder.model


def check_classes(folder: RunFolder, classes: Sequence[str]) -> None:
    """Check that a teacher has the student's class names in the same order.

    Raises:
        UserError: a class differs; the first such class is named.
    """
    done = load_done(folder.done, warn=_log.warning)
    teacher_classes = done.facts.classes if done else ()
    for k, (found, wanted) in enumerate(zip_longest(teacher_classes, classes, fillvalue="none")):
        if found != wanted:
            raise UserError(
                f"{folder.path}: this teacher's class {k} is {found}, its student's is {wanted}. "
                "A teacher must know the student's classes in their order: "
                f"make it again: {remove_and_resume(folder.path)}"
            )


def load_classifier(folder: RunFolder) -> Classifier:
    """The trained network of a finished run, in evaluation mode, without gradients."""
    run = folder.load().run
    check_code(run.code)
    recipe = run.recipe
    if isinstance(recipe, Import) and recipe.backbone and recipe.classifier:
        num_classes, dropout = recipe.classifier.data.num_classes, 0.0
    elif isinstance(recipe, Finetune | Distill):
        num_classes, dropout = recipe.data.num_classes, recipe.dropout
    else:
        raise UserError(f"{folder.path}: a {recipe.kind} run produces no classifier.")
    assert recipe.backbone
    model = Classifier(build_backbone(recipe.backbone), num_classes=num_classes, dropout=dropout)
    load_weights(checked_weights(folder), model)
    return model.eval().requires_grad_(False)


def load_teacher(folder: RunFolder) -> Classifier | RecordedLogits:
    """The trained network of a finished run, to infer with only: its batch norms are part of its
    convolutions. Outputs are those of `load_classifier` up to rounding; an import
    of outputs has no network, and returns its logits.
    """
    recipe = folder.load().run.recipe
    if isinstance(recipe, Import) and not recipe.backbone:
        return RecordedLogits(**read_weights(checked_weights(folder)))
    model = load_classifier(folder)
    fold_batch_norms(model)
    return model
