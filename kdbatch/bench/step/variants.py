"""Variants of a training step: kdbatch's, that of the usual loop, and the parts of a step.

Each returns a function that is called once per step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.bench.step.scale import StepScale
from kdbatch.run.compilation import trial
from kdbatch.run.compilation.networks import compile_networks
from kdbatch.run.data.batch import Batch, StoredVideo
from kdbatch.run.data.batches import TrainingBatches, iterate_batches
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.prefetch import DeviceBatch, DevicePrefetcher, staging
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.meters.idle_meter import IdleMeter
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.models.layers.folding import fold_batch_norms
from kdbatch.run.models.layers.forms import set_form
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.metric_buffer import SYNC_STEPS, MetricBuffer
from kdbatch.run.train.optim import StepFunction, compute_gradients, make_optimizer
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS

NUM_CLASSES, NUM_TEACHERS, TASK = 101, 2, "rspnet"
# The learning rate is so low that any number of steps on one batch stays finite.
SCHEDULE = Schedule(epochs=1, batch_clips=8, lr=1e-4)
_NOWHERE = Subset(
    dataset="ucf101", split="train01", num_places=0, num_classes=NUM_CLASSES, digest=""
)


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """The network that a stage trains, its step, and the teachers of a distillation."""

    model: nn.Module
    take_step: StepFunction
    teachers: tuple[nn.Module, ...] = ()


def make_training_setup(
    stage: str, backbone: Backbone, *, scale: StepScale, device: torch.device, plain: bool = False
) -> TrainingSetup:
    """A network with random weights and the step of `stage`. With `plain`, its weights have
    PyTorch's default memory format, and on a GPU its layers are PyTorch's own.
    """
    torch.manual_seed(0)

    def to_device(model: nn.Module) -> nn.Module:
        model = model.to(device)
        if plain:  # PyTorch's stubs do not know this overload
            model = model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
            if device.type == "cuda":
                set_form(model, "plain")
        return model

    def classifier() -> nn.Module:
        return to_device(Classifier(build_backbone(backbone), num_classes=NUM_CLASSES, dropout=0.5))

    if stage == "pretrain":
        task, pretext = TASKS[TASK].at_complexity(1), PRETEXTS[TASK]
        model = to_device(
            pretext.build_model(task, lambda: build_backbone(backbone), SINGLE_PROCESS)
        )
        return TrainingSetup(
            model=model, take_step=lambda clip, batch: pretext.step(model, clip, batch, task)
        )
    model = classifier()
    if stage == "finetune":
        return TrainingSetup(
            model=model, take_step=lambda clip, batch: finetune_step(model, clip[0], batch.label_B)
        )
    teachers = tuple(classifier().eval().requires_grad_(False) for _ in range(NUM_TEACHERS))
    if not plain:
        for teacher in teachers:  # as a run loads them
            fold_batch_norms(teacher)
    return _distillation(model, teachers, backbone, scale)


def _distillation(
    model: nn.Module, teachers: tuple[nn.Module, ...], backbone: Backbone, scale: StepScale
) -> TrainingSetup:
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
    setup: TrainingSetup,
    device_batches: Iterator[DeviceBatch],
    *,
    meter: IdleMeter,
    compiled: bool = False,
    cuda_graphs: bool = False,
) -> Callable[[], None]:
    """The step of run/train/loop.py, on the batches of `device_batches`."""
    setup.model.train()
    if compiled:
        compile_networks(
            [setup.model, *setup.teachers], backend=trial.BACKEND, cuda_graphs=cuda_graphs
        )
    optimizer, metrics = make_optimizer(setup.model, SCHEDULE), MetricBuffer()

    def step() -> None:
        device_batch = next(device_batches)
        with meter.step():
            numbers = compute_gradients(
                setup.model,
                setup.take_step,
                device_batch,
                num_micro_batches=1,
                group=SINGLE_PROCESS,
                stop_requested=lambda: False,
            )
            optimizer.step()
        metrics.append(0, numbers, lr=SCHEDULE.lr, num_clips=len(device_batch[1].keys))
        if len(metrics) >= SYNC_STEPS[device_batch[0].device.type]:
            metrics.flush()

    return step


def baseline_loop(
    setup: TrainingSetup, device_batch: DeviceBatch, *, autocast: bool
) -> Callable[[], None]:
    """The usual loop: torchvision, references/video_classification/train.py:train_one_epoch.

    PyTorch's own optimiser with its defaults, a gradient scaler with automatic mixed precision, and
    metrics that are read in every step.
    """
    setup.model.train()
    clip_VBCTHW, batch = device_batch
    device = clip_VBCTHW.device
    optimizer = torch.optim.SGD(
        setup.model.parameters(),
        lr=SCHEDULE.lr,
        momentum=SCHEDULE.momentum,
        weight_decay=SCHEDULE.weight_decay,
    )
    half = torch.float16 if device.type == "cuda" else torch.bfloat16
    scaler = torch.amp.GradScaler(device.type, enabled=autocast and device.type == "cuda")

    def step() -> None:
        with torch.autocast(device.type, dtype=half, enabled=autocast):
            output = setup.take_step(clip_VBCTHW, batch)
        optimizer.zero_grad()
        scaler.scale(output.loss).backward()
        scaler.step(optimizer)
        scaler.update()
        _ = [output.loss.item(), output.report["accuracy"].item()]

    return step


def teachers_forward(setup: TrainingSetup, device_batch: DeviceBatch) -> Callable[[], None]:
    """The forward passes of the teachers of a distillation."""
    clip_VBCTHW, _ = device_batch

    @torch.no_grad()
    def step() -> None:
        with torch.autocast(
            clip_VBCTHW.device.type, dtype=torch.bfloat16, enabled=clip_VBCTHW.is_cuda
        ):
            for teacher in setup.teachers:
                teacher(clip_VBCTHW[0])

    return step


def clip_sampler(
    stage: str, scale: StepScale
) -> Callable[
    [Sequence[StoredVideo], np.random.Generator], tuple[list[ClipRequest], dict[str, np.ndarray]]
]:
    """Return a function that chooses the clips of a batch in `stage`."""
    task = TASKS[TASK].at_complexity(1)

    def sample_clips(
        videos: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        if stage == "pretrain":
            return PRETEXTS[TASK].sample_clips(videos, task, scale.view, rng)
        return [random_clip(video.sample, scale.view, rng) for video in videos], {}

    return sample_clips


@contextmanager
def make_prefetcher(
    stage: str,
    videos: Sequence[StoredVideo],
    *,
    scale: StepScale,
    device: torch.device,
    cache: FrameCache | None,
    num_workers: int,
) -> Iterator[DevicePrefetcher]:
    """Endless batches of `stage`: read, through the cache if there is one, and augmented, on the
    device. Leaving the context ends the workers.
    """
    source = TrainingBatches(
        videos,
        view=scale.view,
        batch_clips=scale.batch_clips,
        seed=0,
        sample_clips=clip_sampler(stage, scale),
        clip_reader=ClipReader(decoder="pyav", cache=cache),
    )
    read = iterate_batches(source, range(1 << 30), num_workers=num_workers, stage=staging(device))
    with closing(read) as batches:
        yield DevicePrefetcher(batches, size_pixels=scale.size_pixels, device=device)
