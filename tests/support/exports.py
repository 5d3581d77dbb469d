"""A finished student without training, to be exported."""

import torch

from kdbatch.base.atomic_write import write_json
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.recipe import Recipe
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import Subset, find_subset
from kdbatch.vocab.views import View

TEST = Subset(dataset="ucf101", split="test01", num_places=0, num_classes=2, digest="0")


def finished_student(
    config: Config, *, width: float = 0.0625, recipe: Recipe | None = None
) -> RunFolder:
    """The folder of a student that was never trained but is marked as done."""
    train, test = (
        find_subset(load_index(config.shards_dir, "ucf101"), s, "all", where="")
        for s in ("train01", "test01")
    )
    recipe = recipe or Distill(
        backbone=Backbone(kind="shufflenet_2x", width=width),
        data=train,
        view=View(num_frames=8, size_pixels=32),
        schedule=Schedule(epochs=1, batch_clips=2, lr=0.1),
        evaluation=Evaluation(test=test),
    )
    run = Run(recipe=recipe, seed=0, parents=())
    folder = RunFolder(config.runs_dir / run.id)
    folder.save(
        Assignment(
            run=run,
            title="a student",
            shards_dir=str(config.shards_dir),
            decoder="pyav",
            resources=Resources(),
        )
    )
    if isinstance(recipe, Distill):
        torch.manual_seed(1)
        model = Classifier(
            build_backbone(recipe.backbone), num_classes=train.num_classes, dropout=recipe.dropout
        )
        write_json(
            folder.done, {"model_sha256": save_weights(folder.model, model), "kind": "distill"}
        )
    return folder
