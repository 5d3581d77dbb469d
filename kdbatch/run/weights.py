"""Weights that runs hand to each other: found, checked against the hash in done.json, loaded."""

from collections.abc import Sequence
from pathlib import Path

from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.run.checkpoint import load_weights, sha256_of
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.recipes import Distill, Finetune
from kdbatch.vocab.runs import RunFolder


def checked_weights(folder: RunFolder) -> Path:
    """The weights that a finished run left, after a look at their hash.

    Raises:
        UserError: they are missing, or not those that the run wrote.
    """
    facts = load_json(folder.done)
    if not folder.model.exists() or sha256_of(folder.model) != facts.get("model_sha256"):
        raise UserError(
            f"{folder.model}: is missing, or not what its run wrote. Delete {folder.path} and submit again."
        )
    return folder.model


def check_classes(folder: RunFolder, classes: Sequence[str]) -> None:
    """A teacher's outputs must mean what the student's do: the same class names in the same order.

    Raises:
        UserError: they are others.
    """
    theirs = load_json(folder.done).get("classes", [])
    if list(classes) != theirs:
        place = next(
            (i for i, pair in enumerate(zip(theirs, classes)) if pair[0] != pair[1]),
            min(len(theirs), len(classes)),
        )
        found, wanted = (
            names[place] if place < len(names) else "none" for names in (theirs, classes)
        )
        raise UserError(
            f"{folder.path}: this teacher's class {place} is {found}, its student's is {wanted}. A teacher must know the student's classes "
            f"in their order: delete {folder.path} and submit again."
        )


def load_classifier(folder: RunFolder) -> Classifier:
    """The trained network of a finished run, in evaluation mode, without gradients."""
    recipe = folder.load().run.recipe
    if not isinstance(recipe, Finetune | Distill):
        raise UserError(f"{folder.path}: a {recipe.kind} run leaves no classifier.")
    model = Classifier(
        build_backbone(recipe.backbone), num_classes=recipe.data.num_classes, dropout=recipe.dropout
    )
    load_weights(checked_weights(folder), model)
    return model.eval().requires_grad_(False)
