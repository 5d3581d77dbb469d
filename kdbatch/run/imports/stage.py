"""The stage that imports: a file from elsewhere becomes a run, with weights and results as others.

Axes: N videos, V views, K classes of the target.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdbatch.base.command_lines import remove_and_resume
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.result.label_ranks import label_ranks
from kdbatch.result.outputs import read_outputs
from kdbatch.result.schema import ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import StoredVideo, load_videos
from kdbatch.run.evaluation.evaluate import evaluate, write_predictions
from kdbatch.run.evaluation.predict import Predictions
from kdbatch.run.imports.files import read_tensors
from kdbatch.run.imports.match import copy_matched, rename
from kdbatch.run.models import Classifier, VideoBackbone, build_backbone
from kdbatch.run.train.teacher_logit_cache import RecordedLogits
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes.imported import Import, ImportedClasses
from kdbatch.vocab.runs.folder import Assignment
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import Subset

_log = logging.getLogger(__name__)


def import_network(recipe: Import, assignment: Assignment, context: RunContext) -> StageFacts:
    """Check the file, keep what it holds as the run's weights, and test what predicts classes."""
    path, known = context.folder.imported, recipe.classifier
    if not is_present(path) or sha256_of(path) != recipe.sha256:
        raise UserError(
            f"{path}: is missing, or not the file that was planned. Bring it again: "
            f"{remove_and_resume(context.folder.path)}"
        )
    shards_dir = Path(assignment.shards_dir)
    module = read_import(recipe, path, shards_dir=shards_dir, where=assignment.title)
    measures: list[Measure] = []
    if isinstance(module, RecordedLogits):
        assert known
        found = _recorded_predictions(known, path, shards_dir=shards_dir, where=assignment.title)
        measures = write_predictions(found, evaluation=known.evaluation, context=context)
    elif known:
        measures = evaluate(
            module.to(context.device),
            evaluation=known.evaluation,
            view=known.view,
            shards_dir=shards_dir,
            context=context,
        )
    if not context.group.is_rank0:
        return StageFacts()
    num_parameters = sum(p.numel() for p in module.parameters()) or None
    if num_parameters:
        measures = [*measures, Measure(name="parameters", value=num_parameters, unit="count")]
    write_measures(context.folder.rows, context.folder.id, measures, schema=ROWS)
    sha256 = save_weights(context.folder.model, module)
    path.unlink()
    _log.info("keeps what %s had as weights", path.name)
    classes = load_index(shards_dir, known.data.dataset).classes if known else ()
    return StageFacts(model_sha256=sha256, num_parameters=num_parameters, classes=classes)


def read_import(recipe: Import, path: Path, *, shards_dir: Path, where: str) -> nn.Module:
    """Read what the file holds: a backbone, a classifier of the target's classes, or logits.

    Raises:
        UserError: it does not hold that, tensor by tensor or video by video; it starts with
            `where`.
    """
    if recipe.backbone is None:
        assert recipe.classifier
        _recorded_predictions(recipe.classifier, path, shards_dir=shards_dir, where=where)
        return _recorded_logits(recipe.classifier, path, shards_dir=shards_dir, where=where)
    tensors = rename(read_tensors(path, where=where), recipe.keys, where=where)
    backbone = build_backbone(recipe.backbone)
    are_renamed = bool(recipe.keys)
    if recipe.classifier is None:
        copy_matched(tensors, backbone.state_dict(), are_renamed=are_renamed, where=where)
        return backbone
    names = recipe.classifier.names
    head = nn.Linear(backbone.feature_dim, len(names))
    of_head = {f"fc.{name}": tensor for name, tensor in head.state_dict().items()}
    wanted = {**backbone.state_dict(), **of_head}
    copy_matched(tensors, wanted, are_renamed=are_renamed, where=where)
    return _classifier(backbone, head, _rows(recipe.classifier, shards_dir, where=where))


def _classifier(backbone: VideoBackbone, head: nn.Linear, rows: list[int]) -> Classifier:
    """The classifier that has these outputs of the head."""
    model = Classifier(backbone, num_classes=len(rows))
    with torch.no_grad():
        model.fc.weight.copy_(head.weight[rows])
        model.fc.bias.copy_(head.bias[rows])
    return model.eval().requires_grad_(False)


def _rows(known: ImportedClasses, shards_dir: Path, *, where: str) -> list[int]:
    try:
        return known.rows_of(load_index(shards_dir, known.data.dataset).classes)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _recorded_logits(
    known: ImportedClasses, path: Path, *, shards_dir: Path, where: str
) -> RecordedLogits:
    videos = sorted(_videos(known, known.data, shards_dir), key=lambda video: video.sample.place)
    keys = [video.sample.key for video in videos]
    logit_NVK = read_outputs(path, "train", keys, num_classes=len(known.names), where=where)
    place_N = torch.tensor([video.sample.place for video in videos])
    kept_NVK = logit_NVK[..., _rows(known, shards_dir, where=where)]
    return RecordedLogits(place_N, torch.from_numpy(kept_NVK))


def _recorded_predictions(
    known: ImportedClasses, path: Path, *, shards_dir: Path, where: str
) -> Predictions:
    """Predictions of the test videos: the mean softmax over views, as of a network."""
    videos = _videos(known, known.evaluation.test, shards_dir)
    keys = [video.sample.key for video in videos]
    logit_NVK = read_outputs(path, "test", keys, num_classes=len(known.names), where=where)
    logit_NVK = logit_NVK[..., _rows(known, shards_dir, where=where)]
    probability_NVK = torch.from_numpy(logit_NVK).softmax(-1).numpy()
    label_N = np.array([video.sample.label for video in videos])
    return Predictions(
        keys=keys,
        groups=[video.sample.group for video in videos],
        label_N=label_N,
        probability_NK=probability_NVK.mean(1),
        logit_NK=logit_NVK.mean(1),
        clip_rank_NC=label_ranks(probability_NVK, label_N[:, None]),
    )


def _videos(known: ImportedClasses, subset: Subset, shards_dir: Path) -> list[StoredVideo]:
    return load_videos(shards_dir, subset, view=known.view)[0]
