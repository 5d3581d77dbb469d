"""A run that imports a backbone, before its start."""

from pathlib import Path

from kdbatch.run.checkpoint import save_weights
from kdbatch.run.models import build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run


def write_import_run(runs_dir: Path) -> RunFolder:
    """Write the folder of a run with the file that it imports, as `kdbatch submit` leaves it."""
    backbone = Backbone(kind="shufflenet_2x", width=0.0625)
    path = runs_dir / "backbone.safetensors"
    sha256 = save_weights(path, build_backbone(backbone))
    run = Run(recipe=Import(sha256=sha256, backbone=backbone), seed=0, parents=())
    folder = RunFolder(runs_dir / run.id)
    folder.save(
        Assignment(
            run=run,
            title="import ShuffleNet",
            shards_dir=str(runs_dir / "shards"),
            decoder="pyav",
            resources=Resources(),
        )
    )
    path.rename(folder.imported)
    return folder
