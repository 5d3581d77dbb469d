"""The kinds of run: each builds its model and data, trains, measures and leaves its files.
`done.json` is not theirs to write.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdbatch.base.lookup import lookup
from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import load_weights, save_weights
from kdbatch.run.cka.compare import compare
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, StoredVideo, TrainingBatches, load_videos
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.evaluation.best_epoch import BestEpoch, hold_out
from kdbatch.run.evaluation.evaluate import evaluate, evaluate_teacher_ensemble
from kdbatch.run.evaluation.retrieve import retrieve
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.rng import seed_for
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.feature_match import FeatureMatcher, feature_match_step
from kdbatch.run.train.loop import TrainingResult, train
from kdbatch.run.train.optim import compile_layers
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.run.train.teacher_logit_cache import TeacherLogitCache
from kdbatch.run.weights import check_classes, checked_weights, load_classifier, recorded_sha256
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes import Distill, Finetune, Pretrain
from kdbatch.vocab.runs import Assignment
from kdbatch.vocab.shards import load_index
from kdbatch.vocab.views import View


def pretrain(recipe: Pretrain, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a backbone on a pretext task and export the backbone alone."""
    task = recipe.task
    pretext = lookup(PRETEXTS, task.name, where="task")
    shards_dir = Path(assignment.shards_dir)
    need = task.window_frames(recipe.view.num_frames * recipe.view.stride_frames)
    videos, num_short = load_videos(shards_dir, recipe.data, view=recipe.view, need_frames=need)
    torch.manual_seed(seed_for(assignment.run.seed, "weights"))
    model = pretext.build_model(task, lambda: build_backbone(recipe.backbone), context.group)
    model.to(context.device)
    source = _training(
        recipe,
        assignment,
        context,
        videos,
        lambda chosen, rng: pretext.sample_clips(chosen, task, recipe.view, rng),
    )

    def take_step(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
        return pretext.step(model, clip_VBCTHW, batch, task)

    trained = train(
        model,
        take_step,
        source=source,
        schedule=recipe.schedule,
        seed=assignment.run.seed,
        context=context,
    )
    last = [m.value for m in trained.curves if m.name == "accuracy"][-1]
    chance = pretext.chance_accuracy(task, source.clips_per_batch)
    measures = [
        Measure(
            name="pretext_accuracy", value=100 * last, unit="percent", subset=recipe.data.title
        ),
        Measure(
            name="pretext_chance", value=100 * chance, unit="percent", subset=recipe.data.title
        ),
        Measure(
            name="pretext_score",
            value=100 * (last - chance) / (1 - chance),
            unit="percent",
            subset=recipe.data.title,
        ),
        Measure(name="videos_too_short", value=num_short, unit="count", subset=recipe.data.title),
    ]
    return _write_results(context, model.get_submodule("backbone"), measures, trained)


def finetune(recipe: Finetune, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a teacher from its parent's backbone, or from random weights."""
    model = _new_classifier(recipe, assignment.run.seed)
    for parent in assignment.run.parents:
        load_weights(checked_weights(context.folder.parent(parent)), model.backbone)
    if recipe.trained == "head":
        model.freeze_backbone()
    model.to(context.device)
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes

    def take_step(_: Batch, clip: torch.Tensor, label: torch.Tensor) -> StepOutput:
        return finetune_step(model, clip, label)

    return _train_classifier(recipe, assignment, context, model, take_step, classes)


def distill(recipe: Distill, assignment: Assignment, context: RunContext) -> StageFacts:
    """Train a student from labels and its parents' predictions."""
    model = _new_classifier(recipe, assignment.run.seed).to(context.device)
    parents = [context.folder.parent(parent) for parent in assignment.run.parents]
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    for parent in parents:
        check_classes(parent, classes)
    teachers = [load_classifier(parent).to(context.device) for parent in parents]
    for teacher in teachers if context.compile_layers else ():
        compile_layers(teacher)
    remembered = None
    if teachers and recipe.teacher_views:
        weights = [recorded_sha256(parent) for parent in parents]  # checked when they were loaded
        path = context.folder.teacher_outputs
        remembered = TeacherLogitCache(
            path, teachers, num_views=recipe.teacher_views, classes=classes, weights=weights
        )

    taught = FeatureMatcher(model, teachers).to(context.device) if recipe.feature_weight else None

    def take_step(batch: Batch, clip: torch.Tensor, label: torch.Tensor) -> StepOutput:
        if taught:
            return feature_match_step(
                taught, teachers, clip, label, recipe=recipe, group=context.group
            )
        return distill_step(
            model,
            remembered.teachers_for(batch, clip) if remembered else teachers,
            clip,
            label,
            recipe=recipe,
            group=context.group,
        )

    extra = (
        evaluate_teacher_ensemble(parents, where=recipe.evaluation.test.title) if parents else []
    )
    facts = _train_classifier(
        recipe, assignment, context, model, take_step, classes, trained=taught, extra=extra
    )
    if context.group.is_rank0:
        context.folder.teacher_outputs.unlink(missing_ok=True)
    return facts


STAGES: dict[str, Callable[[Any, Assignment, RunContext], StageFacts]] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "distill": distill,
    "retrieve": retrieve,
    "compare": compare,
}


def _new_classifier(recipe: Finetune | Distill, seed: int) -> Classifier:
    """Random weights that depend on the seed and the architecture alone: a student and its control
    start equal.
    """
    torch.manual_seed(seed_for(seed, "weights"))
    return Classifier(
        build_backbone(recipe.backbone), num_classes=recipe.data.num_classes, dropout=recipe.dropout
    )


def _train_classifier(
    recipe: Finetune | Distill,
    assignment: Assignment,
    context: RunContext,
    model: Classifier,
    take_step: Callable[[Batch, torch.Tensor, torch.Tensor], StepOutput],
    classes: tuple[str, ...],
    *,
    trained: nn.Module | None = None,
    extra: Sequence[Measure] = (),
) -> StageFacts:
    """Train on labelled clips, keep the selected epoch, then read the test split, once. `trained`
    is what learns, where `model` is not all of it.
    """
    shards_dir = Path(assignment.shards_dir)
    videos, _ = load_videos(shards_dir, recipe.data, view=recipe.view)
    best = None
    if recipe.selection:
        videos, held_out = hold_out(videos, share=recipe.selection.share, subset=recipe.data)
        best = BestEpoch(model, held_out, recipe=recipe, context=context)
    source = _training(
        recipe,
        assignment,
        context,
        videos,
        lambda chosen, rng: _one_clip_each(chosen, recipe.view, rng),
    )

    def on_batch(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
        return take_step(batch, clip_VBCTHW[0], batch.label_B)

    left = train(
        trained or model,
        on_batch,
        source=source,
        schedule=recipe.schedule,
        seed=assignment.run.seed,
        context=context,
        after_epoch=best,
    )
    measures = best.restore() if best else []
    measures += evaluate(
        model,
        evaluation=recipe.evaluation,
        view=recipe.view,
        shards_dir=shards_dir,
        context=context,
    )
    facts = _write_results(context, model, [*measures, *extra], left)
    return replace(facts, classes=classes)


def _one_clip_each(
    chosen: Sequence[StoredVideo], view: View, rng: np.random.Generator
) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
    """A random clip per video; frames and places tell a view from others
    (run/train/teacher_logit_cache.py).
    """
    requests = [random_clip(video.sample, view, rng) for video in chosen]
    frame_BT = np.stack([request.frame_VT[0] for request in requests])
    return requests, {
        "frame_BT": frame_BT,
        "position": np.array([video.sample.place for video in chosen]),
    }


def _training(
    recipe: Pretrain | Finetune | Distill,
    assignment: Assignment,
    context: RunContext,
    videos: list[StoredVideo],
    choose: Callable[[Any, np.random.Generator], tuple[list[ClipRequest], dict[str, np.ndarray]]],
) -> TrainingBatches:
    return TrainingBatches(
        videos,
        view=recipe.view,
        batch_clips=recipe.schedule.batch_clips,
        seed=assignment.run.seed,
        sample_clips=choose,
        clip_reader=context.clip_reader,
        rank=context.group.rank,
        world_size=context.group.world_size,
        repeat_epochs=recipe.teacher_views if isinstance(recipe, Distill) else 0,
    )


def _write_results(
    context: RunContext, module: nn.Module, measures: list[Measure], trained: TrainingResult
) -> StageFacts:
    """Write weights, rows and curves; the checkpoint has done its work. Only the leader of a team
    does.
    """
    folder = context.folder
    if not context.group.is_rank0:
        return StageFacts()
    sha256 = save_weights(folder.model, module)
    num_parameters = sum(p.numel() for p in module.parameters())
    measures = [
        *measures,
        Measure(name="parameters", value=num_parameters, unit="count"),
        Measure(name="clips_per_second", value=trained.clips_per_second, unit="clips/s"),
        Measure(name="train_seconds", value=trained.seconds, unit="seconds"),
        Measure(name="data_wait_share", value=trained.data_wait_percent, unit="percent"),
        Measure(name="max_memory", value=trained.max_memory_gb, unit="GB"),
    ]
    write_measures(folder.rows, folder.id, measures, schema=ROWS)
    write_measures(folder.curves, folder.id, trained.curves, schema=CURVES)
    return StageFacts(
        model_sha256=sha256,
        num_parameters=num_parameters,
        clips_per_second=trained.clips_per_second,
    )
