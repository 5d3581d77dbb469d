"""The stages that train: each builds its model and data, trains, measures and writes its files.

`main.py` writes done.json afterwards.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdbatch.base.text import plural
from kdbatch.result.write import Measure
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.cka.compare import compare
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, SampleClips, StoredVideo, TrainingBatches, load_videos
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.evaluation.best_epoch import BestEpoch, held_out_accuracy, hold_out
from kdbatch.run.evaluation.evaluate import evaluate, evaluate_teacher_ensemble
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
from kdbatch.run.train.training_labels import first_of_each_class, shuffle_labels
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
from kdbatch.vocab.views import View

_log = logging.getLogger(__name__)

ClassifierStep = Callable[[Batch, torch.Tensor, torch.Tensor], StepOutput]
"""A batch, its clips (B, C, T, H, W) and labels (B) -> the output of the step."""


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
    source = _training_batches(recipe, assignment, context, videos, sample_clips)
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
    return _train_classifier(recipe, assignment, context, model, take_step, classes)


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
    matcher = (
        FeatureMatcher(model, networks, recipe=recipe).to(context.device)
        if recipe.feature_weight
        else None
    )
    cache = None
    if networks and recipe.teacher_views:
        cache = TeacherLogitCache(
            context.folder.teacher_outputs,
            networks,
            num_views=recipe.teacher_views,
            classes=classes,
            weights=[  # checked by _load_teachers
                recorded_sha256(parent)
                for parent, teacher in zip(parents, teachers, strict=True)
                if isinstance(teacher, Classifier)
            ],
        )

    def take_step(batch: Batch, clip_BCTHW: torch.Tensor, label_B: torch.Tensor) -> StepOutput:
        group = context.group
        if matcher:
            return feature_match_step(
                matcher, networks, clip_BCTHW, label_B, recipe=recipe, group=group
            )
        used = teachers_of(batch, clip_BCTHW, teachers, cache=cache)
        return distill_step(model, used, clip_BCTHW, label_B, recipe=recipe, group=group)

    where = recipe.evaluation.test.title
    ensemble = evaluate_teacher_ensemble(parents, where=where) if parents else []
    facts = _train_classifier(
        recipe,
        assignment,
        context,
        model,
        take_step,
        classes,
        trained=matcher,
        # Those whose outputs are kept do not run in every step.
        teachers=() if cache else networks,
        extra=ensemble,
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


def _train_classifier(
    recipe: Finetune | Distill,
    assignment: Assignment,
    context: RunContext,
    model: Classifier,
    take_step: ClassifierStep,
    classes: tuple[str, ...],
    *,
    trained: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    extra: Sequence[Measure] = (),
) -> StageFacts:
    """Train on labelled clips, restore the selected epoch, then evaluate once on the test split.

    `trained` is the module to optimize where that is more than `model`; `teachers` infer in every
    step.
    """
    shards_dir = Path(assignment.shards_dir)
    videos = _labelled_videos(recipe, assignment)
    best = None
    if recipe.selection:
        videos, held_out = hold_out(videos, share=recipe.selection.share, subset=recipe.data)
        _log.info("holds %d of the videos out, to choose the epoch by them", len(held_out))
        equal_to = [held_out_accuracy(context.folder.parent(p)) for p in assignment.run.equal_to]
        best = BestEpoch(
            model,
            held_out,
            recipe=recipe,
            context=context,
            wanted=equal_to[0] if equal_to else None,
        )

    def sample_clips(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        return _one_clip_each(chosen, recipe.view, rng)

    def on_batch(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
        return take_step(batch, clip_VBCTHW[0], batch.label_B)

    result = train(
        trained or model,
        on_batch,
        source=_training_batches(recipe, assignment, context, videos, sample_clips),
        schedule=recipe.schedule,
        seed=assignment.run.seed,
        context=context,
        teachers=teachers,
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
    facts = write_run_results(context, model, [*measures, *extra], result)
    return replace(facts, classes=classes)


def _labelled_videos(recipe: Finetune | Distill, assignment: Assignment) -> list[StoredVideo]:
    """The training videos with the labels that the network is trained on."""
    videos, _ = load_videos(Path(assignment.shards_dir), recipe.data, view=recipe.view)
    if recipe.videos_per_class:
        videos = first_of_each_class(videos, recipe.videos_per_class)
        _log.info("uses the first %d videos of each class", recipe.videos_per_class)
    if isinstance(recipe, Finetune) and recipe.shuffled_labels:
        videos = shuffle_labels(videos, seed=assignment.run.seed)
        _log.info("permutes the labels of its videos: there is nothing to learn from them")
    return videos


def _one_clip_each(
    chosen: Sequence[StoredVideo], view: View, rng: np.random.Generator
) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
    """A random clip per video; its frames and position identify a view (teacher_logit_cache.py)."""
    requests = [random_clip(video.sample, view, rng) for video in chosen]
    frame_BT = np.stack([request.frame_VT[0] for request in requests])
    position_B = np.array([video.sample.place for video in chosen])
    return requests, {"frame_BT": frame_BT, "position": position_B}


def _training_batches(
    recipe: Pretrain | Finetune | Distill,
    assignment: Assignment,
    context: RunContext,
    videos: list[StoredVideo],
    sample_clips: SampleClips,
) -> TrainingBatches:
    source = TrainingBatches(
        videos,
        view=recipe.view,
        batch_clips=recipe.schedule.batch_clips,
        seed=assignment.run.seed,
        sample_clips=sample_clips,
        clip_reader=context.clip_reader,
        rank=context.group.rank,
        world_size=context.group.world_size,
        repeat_epochs=recipe.teacher_views if isinstance(recipe, Distill) else 0,
    )
    epochs, per_epoch = recipe.schedule.epochs, source.steps_per_epoch
    size = f"{plural(epochs, 'epoch')} of {plural(per_epoch, 'step')}: {epochs * per_epoch} steps"
    batches = f"batches of at most {recipe.schedule.batch_clips}"
    videos_of = f"{plural(len(videos), 'video')} of {recipe.data.title}"
    _log.info("trains on %s, %s, %s", videos_of, batches, size)
    return source
