"""Ways of taking a training step: ours, the usual loop, and the parts that a step is made of. Each
is called once per step.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.bench.step.scale import StepScale
from kdbatch.run.data.batch import Batch, StoredVideo
from kdbatch.run.data.batches import TrainingBatches, iterate_batches
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.prefetch import DeviceBatch, DevicePrefetcher
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.metric_buffer import SYNC_STEPS, MetricBuffer
from kdbatch.run.train.optim import StepFunction, compile_layers, compute_gradients, make_optimizer
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Distill, Evaluation, Schedule
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.tasks import TASKS

NUM_CLASSES, NUM_TEACHERS, TASK = 101, 2, "rspnet"
SCHEDULE = Schedule(
    epochs=1, batch_clips=8, lr=1e-4
)  # so low a rate that any number of steps on one batch stays finite
_NOWHERE = Subset(
    dataset="ucf101", split="train01", num_places=0, num_classes=NUM_CLASSES, digest=""
)


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """What a stage trains, and its step. `teachers` are those of a distillation."""

    model: nn.Module
    take_step: StepFunction
    teachers: tuple[nn.Module, ...] = ()


def make_training_setup(
    stage: str, backbone: Backbone, *, scale: StepScale, device: torch.device, plain: bool = False
) -> TrainingSetup:
    """A network of random weights with the step of `stage`; `plain`: in PyTorch's default memory
    format, as people leave it.
    """
    torch.manual_seed(0)

    def placed(model: nn.Module) -> nn.Module:
        model = model.to(device)
        return model.to(memory_format=torch.contiguous_format) if plain else model  # pyright: ignore[reportCallIssue]

    def classifier() -> nn.Module:
        return placed(Classifier(build_backbone(backbone), num_classes=NUM_CLASSES, dropout=0.5))

    if stage == "pretrain":
        task, pretext = TASKS[TASK].at_complexity(1), PRETEXTS[TASK]
        model = placed(pretext.build_model(task, lambda: build_backbone(backbone), SINGLE_PROCESS))
        return TrainingSetup(
            model=model, take_step=lambda clip, batch: pretext.step(model, clip, batch, task)
        )
    model = classifier()
    if stage == "finetune":
        return TrainingSetup(
            model=model, take_step=lambda clip, batch: finetune_step(model, clip[0], batch.label_B)
        )
    teachers = tuple(classifier().eval().requires_grad_(False) for _ in range(NUM_TEACHERS))
    recipe = Distill(
        backbone=backbone,
        data=_NOWHERE,
        view=scale.view,
        schedule=SCHEDULE,
        evaluation=Evaluation(test=_NOWHERE),
        weighting="ae-kd",
    )

    def take_step(clip_VBCTHW: Tensor, batch: Batch) -> StepOutput:
        return distill_step(model, teachers, clip_VBCTHW[0], batch.label_B, recipe=recipe)

    return TrainingSetup(model=model, take_step=take_step, teachers=teachers)


def kdbatch_loop(
    made: TrainingSetup, fed: Iterator[DeviceBatch], *, compiled: bool = False
) -> Callable[[], None]:
    """The step of run/train/loop.py, on what `fed` gives."""
    made.model.train()
    for network in (made.model, *made.teachers) if compiled else ():
        compile_layers(network)
    optimizer, ledger = make_optimizer(made.model, SCHEDULE), MetricBuffer()

    def step() -> None:
        coming = next(fed)
        numbers = compute_gradients(
            made.model,
            made.take_step,
            coming,
            num_parts=1,
            group=SINGLE_PROCESS,
            stop_asked=lambda: False,
        )
        optimizer.step()
        ledger.append(0, numbers, rate=SCHEDULE.lr, num_clips=len(coming[1].keys))
        if len(ledger) >= SYNC_STEPS[coming[0].device.type]:
            ledger.flush()

    return step


def baseline_loop(made: TrainingSetup, fed: DeviceBatch, *, autocast: bool) -> Callable[[], None]:
    """The loop of torchvision's references (references/video_classification/train.py:
    train_one_epoch), written anew: PyTorch's own optimiser with its defaults, a scaler of the loss
    with automatic mixed precision, and numbers that are read in every step.
    """
    made.model.train()
    clip_VBCTHW, batch = fed
    device = clip_VBCTHW.device
    optimizer = torch.optim.SGD(
        made.model.parameters(),
        lr=SCHEDULE.lr,
        momentum=SCHEDULE.momentum,
        weight_decay=SCHEDULE.weight_decay,
    )
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=autocast and device.type == "cuda")

    def step() -> None:
        with torch.autocast(device.type, dtype=half, enabled=autocast):
            taken = made.take_step(clip_VBCTHW, batch)
        optimizer.zero_grad()
        scaler.scale(taken.loss).backward()
        scaler.step(optimizer)
        scaler.update()
        _ = [taken.loss.item(), taken.report["accuracy"].item()]

    return step


def teachers_forward(made: TrainingSetup, fed: DeviceBatch) -> Callable[[], None]:
    """The forward passes of the teachers of a distillation."""
    clip_VBCTHW, _ = fed

    @torch.no_grad()
    def step() -> None:
        with torch.autocast(
            clip_VBCTHW.device.type, dtype=torch.bfloat16, enabled=clip_VBCTHW.is_cuda
        ):
            for teacher in made.teachers:
                teacher(clip_VBCTHW[0])

    return step


def make_prefetcher(
    stage: str,
    videos: Sequence[StoredVideo],
    *,
    scale: StepScale,
    device: torch.device,
    cache: FrameCache,
    num_workers: int,
) -> DevicePrefetcher:
    """Batches of `stage` without end: read from the cache, augmented, on the device."""
    task = TASKS[TASK].at_complexity(1)

    def choose(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        if stage == "pretrain":
            return PRETEXTS[TASK].sample_clips(chosen, task, scale.view, rng)
        return [random_clip(video.sample, scale.view, rng) for video in chosen], {}

    source = TrainingBatches(
        videos,
        view=scale.view,
        batch_clips=scale.batch_clips,
        seed=0,
        sample_clips=choose,
        clip_reader=ClipReader(decoder="pyav", cache=cache),
    )
    return DevicePrefetcher(
        iterate_batches(source, range(1 << 30), num_workers=num_workers),
        size_pixels=scale.size_pixels,
        device=device,
    )
