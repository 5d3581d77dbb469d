"""The kinds of run: each builds its model and data, trains, measures and leaves its files. `done.json` is not theirs to write."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdbatch.base.lookup import pick
from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import load_weights, save_weights, sha256_of
from kdbatch.run.cka.compare import compare
from kdbatch.run.context import Facts, Worker
from kdbatch.run.data.batches import Batch, TrainingBatches, Video, load_videos
from kdbatch.run.data.sampling import Request, random_clip
from kdbatch.run.evaluation.best_epoch import BestEpoch, hold_out
from kdbatch.run.evaluation.evaluate import evaluate, teachers_together
from kdbatch.run.evaluation.retrieve import retrieve
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.rng import seed_for
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.feature_match import Taught, match_step
from kdbatch.run.train.loop import Trained, train
from kdbatch.run.train.optim import compile_layers
from kdbatch.run.train.steps import Step, distill_step, finetune_step
from kdbatch.run.train.teacher_logit_cache import TeacherOutputs
from kdbatch.run.weights import check_classes, checked_weights, load_classifier
from kdbatch.vocab.recipes import Distill, Finetune, Pretrain
from kdbatch.vocab.runs import Assignment
from kdbatch.vocab.shards import load_index
from kdbatch.vocab.views import View


def pretrain(recipe: Pretrain, assignment: Assignment, worker: Worker) -> Facts:
    """Train a backbone on a pretext task and export the backbone alone."""
    task = recipe.task
    pretext = pick(PRETEXTS, task.name, where="task")
    shards_dir = Path(assignment.shards_dir)
    need = task.window_frames(recipe.view.num_frames * recipe.view.stride_frames)
    videos, num_short = load_videos(shards_dir, recipe.data, view=recipe.view, need_frames=need)
    torch.manual_seed(seed_for(assignment.run.seed, "weights"))
    model = pretext.build(task, build_backbone(recipe.backbone), build_backbone(recipe.backbone)).to(worker.device)
    source = _training(recipe, assignment, worker, videos, lambda chosen, rng: pretext.choose(chosen, task, recipe.view, rng))

    def take_step(clip_VBCTHW: torch.Tensor, batch: Batch) -> Step:
        return pretext.step(model, clip_VBCTHW, batch, task)

    trained = train(model, take_step, source=source, schedule=recipe.schedule, seed=assignment.run.seed, worker=worker)
    last = [m.value for m in trained.curves if m.name == "accuracy"][-1]
    chance = pretext.chance(task, source.clips_per_batch)
    measures = [
        Measure(name="pretext_accuracy", value=100 * last, unit="percent", subset=recipe.data.title),
        Measure(name="pretext_chance", value=100 * chance, unit="percent", subset=recipe.data.title),
        Measure(name="pretext_score", value=100 * (last - chance) / (1 - chance), unit="percent", subset=recipe.data.title),
        Measure(name="videos_too_short", value=num_short, unit="count", subset=recipe.data.title),
    ]
    return _leave(worker, model.get_submodule("backbone"), measures, trained)


def finetune(recipe: Finetune, assignment: Assignment, worker: Worker) -> Facts:
    """Train a teacher from its parent's backbone, or from random weights."""
    model = _new_classifier(recipe, assignment.run.seed)
    for parent in assignment.run.parents:
        load_weights(checked_weights(worker.folder.parent(parent)), model.backbone)
    if recipe.trained == "head":
        model.freeze_backbone()
    model.to(worker.device)
    return _train_classifier(recipe, assignment, worker, model, lambda _, clip, label: finetune_step(model, clip, label))


def distill(recipe: Distill, assignment: Assignment, worker: Worker) -> Facts:
    """Train a student from labels and its parents' predictions."""
    model = _new_classifier(recipe, assignment.run.seed).to(worker.device)
    parents = [worker.folder.parent(parent) for parent in assignment.run.parents]
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    for parent in parents:
        check_classes(parent, classes)
    teachers = [load_classifier(parent).to(worker.device) for parent in parents]
    for teacher in teachers if worker.compiles else ():
        compile_layers(teacher)
    remembered = None
    if teachers and recipe.teacher_views:
        weights = [sha256_of(parent.model) for parent in parents]
        path = worker.folder.teacher_outputs
        remembered = TeacherOutputs(path, teachers, num_views=recipe.teacher_views, classes=classes, weights=weights)

    taught = Taught(model, teachers).to(worker.device) if recipe.feature_weight else None

    def take_step(batch: Batch, clip: torch.Tensor, label: torch.Tensor) -> Step:
        if taught:
            return match_step(taught, teachers, clip, label, recipe=recipe)
        return distill_step(model, remembered.of(batch, clip) if remembered else teachers, clip, label, recipe=recipe)

    extra = teachers_together(parents, where=recipe.evaluation.test.title) if parents else []
    facts = _train_classifier(recipe, assignment, worker, model, take_step, trained=taught, extra=extra)
    if worker.team.leads:
        worker.folder.teacher_outputs.unlink(missing_ok=True)
    return facts


STAGES: dict[str, Callable[[Any, Assignment, Worker], Facts]] = {
    "pretrain": pretrain,
    "finetune": finetune,
    "distill": distill,
    "retrieve": retrieve,
    "compare": compare,
}


def _new_classifier(recipe: Finetune | Distill, seed: int) -> Classifier:
    """Random weights that depend on the seed and the architecture alone: a student and its control start equal."""
    torch.manual_seed(seed_for(seed, "weights"))
    return Classifier(build_backbone(recipe.backbone), num_classes=recipe.data.num_classes, dropout=recipe.dropout)


def _train_classifier(
    recipe: Finetune | Distill,
    assignment: Assignment,
    worker: Worker,
    model: Classifier,
    take_step: Callable[[Batch, torch.Tensor, torch.Tensor], Step],
    *,
    trained: nn.Module | None = None,
    extra: Sequence[Measure] = (),
) -> Facts:
    """Train on labelled clips, keep the selected epoch, then read the test split, once. `trained` is what learns, where `model` is not all
    of it."""
    shards_dir = Path(assignment.shards_dir)
    videos, _ = load_videos(shards_dir, recipe.data, view=recipe.view)
    best = None
    if recipe.selection:
        videos, held_out = hold_out(videos, share=recipe.selection.share, subset=recipe.data)
        best = BestEpoch(model, held_out, recipe=recipe, worker=worker)
    source = _training(recipe, assignment, worker, videos, lambda chosen, rng: _one_clip_each(chosen, recipe.view, rng))

    def on_batch(clip_VBCTHW: torch.Tensor, batch: Batch) -> Step:
        return take_step(batch, clip_VBCTHW[0], batch.label_B)

    left = train(
        trained or model, on_batch, source=source, schedule=recipe.schedule, seed=assignment.run.seed, worker=worker, after_epoch=best
    )
    measures = best.restore() if best else []
    measures += evaluate(model, evaluation=recipe.evaluation, view=recipe.view, shards_dir=shards_dir, worker=worker)
    facts = _leave(worker, model, [*measures, *extra], left)
    return facts | {"classes": list(load_index(shards_dir, recipe.data.dataset).classes)}


def _one_clip_each(chosen: Sequence[Video], view: View, rng: np.random.Generator) -> tuple[list[Request], dict[str, np.ndarray]]:
    """A random clip per video; frames and places tell a view from others (run/train/teacher_logit_cache.py)."""
    requests = [random_clip(video.sample, view, rng) for video in chosen]
    frame_BT = np.stack([request.frame_VT[0] for request in requests])
    return requests, {"frame_BT": frame_BT, "place": np.array([video.sample.place for video in chosen])}


def _training(
    recipe: Pretrain | Finetune | Distill,
    assignment: Assignment,
    worker: Worker,
    videos: list[Video],
    choose: Callable[[Any, np.random.Generator], tuple[list[Request], dict[str, np.ndarray]]],
) -> TrainingBatches:
    return TrainingBatches(
        videos,
        view=recipe.view,
        batch_clips=recipe.schedule.batch_clips,
        seed=assignment.run.seed,
        choose=choose,
        decoder=worker.decoder,
        cache=worker.cache,
        rank=worker.team.rank,
        world_size=worker.team.world_size,
        repeat_epochs=recipe.teacher_views if isinstance(recipe, Distill) else 0,
    )


def _leave(worker: Worker, module: nn.Module, measures: list[Measure], trained: Trained) -> Facts:
    """Write weights, rows and curves; the checkpoint has done its work. Only the leader of a team does."""
    folder = worker.folder
    if not worker.team.leads:
        return {}
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
    return {"model_sha256": sha256, "num_parameters": num_parameters, "clips_per_second": trained.clips_per_second}
