"""For the tests of a GPU: small batches of every stage, without videos, and steps on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.variants import TrainingSetup, clip_sampler, make_training_setup
from kdbatch.run.data.batch import Batch, BatchPlan, plan_batch
from kdbatch.run.data.prefetch import DeviceBatch, DevicePrefetcher
from kdbatch.run.data.sampling import random_clip
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.models import build_backbone
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.optim import compute_gradients, make_optimizer
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import View
from support.tasks import videos

NUM_CLIPS, WIDTH = 4, 0.0625
VIEW = View(num_frames=8, size_pixels=32)
SCHEDULE = Schedule(epochs=1, batch_clips=NUM_CLIPS, lr=1e-3)


def backbone_of(kind: str, *, width: float = WIDTH) -> Backbone:
    """The backbone `kind`, narrow."""
    return Backbone(kind=kind, width=width)  # type: ignore[arg-type]


def small_setup(stage: str, kind: str, device: torch.device) -> TrainingSetup:
    """A narrow network for `stage`, which is finetune, distill or the name of a task."""
    backbone = backbone_of(kind)
    if stage not in TASKS:
        scale = StepScale(
            backbones=(backbone,), batch_clips=NUM_CLIPS, num_frames=8, size_pixels=32
        )
        return make_training_setup(stage, backbone, scale=scale, device=device)
    torch.manual_seed(0)
    task, pretext = TASKS[stage].at_complexity(1), PRETEXTS[stage]
    model = pretext.build_model(task, lambda: build_backbone(backbone), SINGLE_PROCESS).to(device)
    return TrainingSetup(
        model=model.train(), take_step=lambda clip, batch: pretext.step(model, clip, batch, task)
    )


def plan_of(stage: str, *, seed: int) -> BatchPlan:
    """The plan of a batch of long videos that have no data."""
    rng, chosen = np.random.default_rng(seed), videos(*[400] * NUM_CLIPS)
    if stage in TASKS:
        task = TASKS[stage].at_complexity(1)
        requests, extra = PRETEXTS[stage].sample_clips(chosen, task, VIEW, rng)
    else:
        requests, extra = [random_clip(video.sample, VIEW, rng) for video in chosen], {}
    return plan_batch(chosen, requests, extra, view=VIEW, rng=rng)


def noise_batch(stage: str, *, seed: int) -> Batch:
    """A batch whose pixels are noise."""
    plan = plan_of(stage, seed=seed)
    rng = np.random.default_rng(seed)
    return plan.to_batch(rng.integers(0, 256, plan.num_bytes, dtype=np.uint8))


def full_batches(stage: str, scale: StepScale, device: torch.device) -> Iterator[DeviceBatch]:
    """Endless batches of a stage of kdbatch bench step: noise of 170 x 128 pixels in the memory of
    the host, which the prefetcher copies and augments.
    """
    rng, chosen = np.random.default_rng(0), videos(*[400] * scale.batch_clips)
    pixels = rng.integers(0, 256, 1 << 24, dtype=np.uint8)
    sample_clips = clip_sampler(stage, scale)

    def batches() -> Iterator[Batch]:
        while True:
            requests, extra = sample_clips(chosen, rng)
            plan = plan_batch(chosen, requests, extra, view=scale.view, rng=rng)
            yield plan.to_batch(np.resize(pixels, plan.num_bytes))

    return DevicePrefetcher(batches(), size_pixels=scale.size_pixels, device=device)


@contextmanager
def small_video_batches(
    stage: str, device: torch.device, *, num_batches: int
) -> Iterator[list[DeviceBatch]]:
    """Batches of noise that the prefetcher has copied to the device and augmented there."""
    batches = (noise_batch(stage, seed=seed) for seed in range(num_batches))
    yield list(DevicePrefetcher(batches, size_pixels=VIEW.size_pixels, device=device))


def take_steps(
    setup: TrainingSetup, batches: Sequence[DeviceBatch]
) -> list[dict[str, torch.Tensor]]:
    """Take the steps of training, and return their numbers, which stay on the device."""
    optimizer = make_optimizer(setup.model, SCHEDULE)
    numbers = []
    for batch in batches:
        values = compute_gradients(
            setup.model,
            setup.take_step,
            batch,
            num_micro_batches=1,
            group=SINGLE_PROCESS,
            stop_requested=lambda: False,
        )
        optimizer.step()
        numbers.append(values)
    return numbers
