"""Trains and evaluates a classifier, with labels or with teachers."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kdbatch.base.text import plural
from kdbatch.result.write import Measure
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, SampleClips, StoredVideo, TrainingBatches, load_videos
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.evaluation.best_epoch import BestEpoch, held_out_accuracy, hold_out
from kdbatch.run.evaluation.evaluate import evaluate
from kdbatch.run.models import Classifier
from kdbatch.run.stage_results import write_run_results
from kdbatch.run.train.loop import train
from kdbatch.run.train.steps import StepOutput
from kdbatch.run.train.training_labels import first_of_each_class, shuffle_labels
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.runs.folder import Assignment
from kdbatch.vocab.views import View

_log = logging.getLogger(__name__)

ClassifierStep = Callable[[Batch, torch.Tensor, torch.Tensor], StepOutput]
"""A batch, its clips (B, C, T, H, W) and labels (B) -> the output of the step."""


def train_classifier(
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
    videos = _labelled_videos(recipe, assignment)
    best = None
    if recipe.selection:
        videos, held_out = hold_out(videos, share=recipe.selection.share, subset=recipe.data)
        _log.info("holds %d of the videos out, to choose the epoch by them", len(held_out))
        equal_to = [held_out_accuracy(context.folder.parent(p)) for p in assignment.run.equal_to]
        wanted = equal_to[0] if equal_to else None
        best = BestEpoch(model, held_out, recipe=recipe, context=context, wanted=wanted)

    def sample_clips(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        return _one_clip_each(chosen, recipe.view, rng)

    def on_batch(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
        return take_step(batch, clip_VBCTHW[0], batch.label_B)

    result = train(
        trained or model,
        on_batch,
        source=training_batches(recipe, assignment, context, videos, sample_clips),
        schedule=recipe.schedule,
        seed=assignment.run.seed,
        context=context,
        teachers=teachers,
        after_epoch=best,
    )
    measures = best.restore() if best else []
    test, shards_dir = recipe.evaluation, Path(assignment.shards_dir)
    measures += evaluate(
        model, evaluation=test, view=recipe.view, shards_dir=shards_dir, context=context
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


def training_batches(
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
