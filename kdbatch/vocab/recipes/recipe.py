"""The recipe of a run of any kind: its version, its videos, and the code that it names."""

from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.extensions.sources import Code
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS

RECIPE_VERSION = 3  # raise it when the same recipe starts to give other numbers

Recipe = Import | Pretrain | Finetune | Distill | Retrieve | Compare
RECIPE_KINDS = ("import", "pretrain", "finetune", "distill", "retrieve", "compare")


def subsets_of(recipe: Recipe) -> tuple[Subset, ...]:
    """The videos that a run reads: those that it is trained on or shown, then its test videos."""
    if isinstance(recipe, Import):
        known = recipe.classifier
        return (known.data, known.evaluation.test) if known else ()
    if isinstance(recipe, Pretrain | Compare):
        return (recipe.data,)
    return recipe.data, recipe.evaluation.test


def installed_code(recipe: Recipe) -> tuple[Code, ...]:
    """The code of other distributions that a recipe names.

    Raises:
        UserError: an installed name is there twice.
    """
    backbone = getattr(recipe, "backbone", None) or getattr(recipe, "untrained", None)
    found = [BACKBONE_SPECS.code_of(backbone.kind)] if backbone else []
    if isinstance(recipe, Pretrain):
        found.append(TASKS.code_of(recipe.task.name))
    if isinstance(recipe, Distill):
        found += [LOSS_SPECS.code_of(recipe.loss), WEIGHTING_SPECS.code_of(recipe.weighting)]
    return tuple(sorted({code for code in found if code}))
