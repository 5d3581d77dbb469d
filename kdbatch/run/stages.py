"""The stages that train: each builds its model and data, trains, measures and writes its files.

`main.py` writes done.json afterwards.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdbatch.run.checkpoint import load_weights
from kdbatch.run.cka.compare import compare
from kdbatch.run.classifier_training import train_classifier, training_batches
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, load_videos
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.run.evaluation.evaluate import evaluate_teacher_ensemble
from kdbatch.run.evaluation.retrieve import retrieve
from kdbatch.run.imports.stage import import_network
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.rng import seed_for
from kdbatch.run.stage_results import pretext_measures, write_run_results
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.feature_match import FeatureMatcher, feature_match_step
from kdbatch.run.train.loop import train
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.run.train.teacher_logit_cache import RecordedLogits, TeacherLogitCache, teachers_of
from kdbatch.run.weights import (
    check_classes,
    checked_weights,
    load_teacher,
    new_classifier,
    recorded_sha256,
)
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.tasks import TASKS

_log = logging.getLogger(__name__)


def pretrain(recipe: Pretrain, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a backbone on a pretext task and export the backbone alone."""
    task, seed = recipe.task, assignment.run.seed
    pretext = TASKS.loaded(task.name, PRETEXTS, where="task")
    need_frames = task.window_frames(recipe.view.num_frames * recipe.view.stride_frames)
    videos, left_out = load_videos(
        Path(assignment.shards_dir),
        recipe.data,
        view=recipe.view,
        need_frames=need_frames,
        least_fps=recipe.least_fps,
    )
    torch.manual_seed(seed_for(seed, "weights"))
    model = pretext.build_model(task, lambda: build_backbone(recipe.backbone), context.group)
    model.to(context.device)

    def sample_clips(
        chosen: Any, rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        return pretext.sample_clips(chosen, task, recipe.view, rng)

    def take_step(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
        return pretext.step(model, clip_VBCTHW, batch, task)

    for number, reason in ((left_out.num_short, "short"), (left_out.num_slow, "slow")):
        if number:
            _log.info("leaves out %d videos that are too %s for the task", number, reason)
    source = training_batches(recipe, assignment, context, videos, sample_clips)
    trained = train(
        model, take_step, source=source, schedule=recipe.schedule, seed=seed, context=context
    )
    chance = pretext.chance_accuracy(task, source.clips_per_batch)
    measures = pretext_measures(trained, chance, left_out, subset=recipe.data.title)
    return write_run_results(context, model.get_submodule("backbone"), measures, trained)


def finetune(recipe: Finetune, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a teacher from its parent's backbone, or from random weights."""
    model = new_classifier(
        recipe.backbone, recipe.data, seed=assignment.run.seed, dropout=recipe.dropout
    )
    for parent in assignment.run.parents:
        load_weights(checked_weights(context.folder.parent(parent)), model.backbone)
    if recipe.trained == "head":
        model.freeze_backbone()
    model.to(context.device)

    def take_step(_: Batch, clip_BCTHW: torch.Tensor, label_B: torch.Tensor) -> StepOutput:
        return finetune_step(model, clip_BCTHW, label_B)

    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    return train_classifier(recipe, assignment, context, model, take_step, classes)


def distill(recipe: Distill, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a student from labels and its teachers' predictions."""
    run = assignment.run
    model = new_classifier(recipe.backbone, recipe.data, seed=run.seed, dropout=recipe.dropout)
    for parent in run.pretrained:
        load_weights(checked_weights(context.folder.parent(parent)), model.backbone)
    model.to(context.device)
    parents = [context.folder.parent(parent) for parent in run.teachers]
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    teachers = _load_teachers(parents, classes, context)
    networks = [teacher for teacher in teachers if isinstance(teacher, Classifier)]
    matcher = None
    if recipe.feature_weight:
        matcher = FeatureMatcher(model, networks, recipe=recipe).to(context.device)
    cache = _logit_cache(recipe, context, parents, teachers, classes)

    def take_step(batch: Batch, clip_BCTHW: torch.Tensor, label_B: torch.Tensor) -> StepOutput:
        group = context.group
        if matcher:
            return feature_match_step(
                matcher, networks, clip_BCTHW, label_B, recipe=recipe, group=group
            )
        used = teachers_of(batch, clip_BCTHW, teachers, cache=cache)
        return distill_step(model, used, clip_BCTHW, label_B, recipe=recipe, group=group)

    where = recipe.evaluation.test.title
    facts = train_classifier(
        recipe,
        assignment,
        context,
        model,
        take_step,
        classes,
        trained=matcher,
        # Those whose outputs are kept do not run in every step.
        teachers=() if cache else networks,
        extra=evaluate_teacher_ensemble(parents, where=where) if parents else (),
    )
    if context.group.is_rank0:
        context.folder.teacher_outputs.unlink(missing_ok=True)
    return facts


STAGES: dict[str, Callable[[Any, Assignment, RunContext], StageFacts]] = {
    "import": import_network,
    "pretrain": pretrain,
    "finetune": finetune,
    "distill": distill,
    "retrieve": retrieve,
    "compare": compare,
}


def _load_teachers(
    folders: Sequence[RunFolder], classes: Sequence[str], context: RunContext
) -> list[Classifier | RecordedLogits]:
    for folder in folders:
        check_classes(folder, classes)
    return [load_teacher(folder).to(context.device) for folder in folders]


def _logit_cache(
    recipe: Distill,
    context: RunContext,
    folders: Sequence[RunFolder],
    teachers: Sequence[Classifier | RecordedLogits],
    classes: tuple[str, ...],
) -> TeacherLogitCache | None:
    """The file that keeps what the teachers predict; None where no view of a clip comes again."""
    pairs = zip(folders, teachers, strict=True)
    networks = [(folder, found) for folder, found in pairs if isinstance(found, Classifier)]
    if not (networks and recipe.teacher_views):
        return None
    return TeacherLogitCache(
        context.folder.teacher_outputs,
        [network for _, network in networks],
        num_views=recipe.teacher_views,
        classes=classes,
        weights=[recorded_sha256(folder) for folder, _ in networks],  # _load_teachers checks them
    )
