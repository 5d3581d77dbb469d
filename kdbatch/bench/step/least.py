"""The smallest batch of a stage, and the multiply-adds of a step, which are counted on it."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.variants import TrainingSetup, make_training_setup
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.vocab.backbones import Backbone


def least_clips(stage: str, scale: StepScale) -> int:
    """Clips of the smallest batch: RSPNet compares clips with each other, and statistics of a batch
    need more than one value of a channel, which small clips do not have.
    """
    return min(1 if stage != "pretrain" and scale.size_pixels >= 64 else 2, scale.batch_clips)


def multiply_adds_of(
    stage: str, backbone: Backbone, scale: StepScale, device_batch: DeviceBatch
) -> float:
    """Multiply-adds of a step, counted on the smallest part of its batch: they grow with clips."""
    clip_VBCTHW, batch = device_batch
    part = slice(0, least_clips(stage, scale))
    setup = make_training_setup(stage, backbone, scale=scale, device=clip_VBCTHW.device, plain=True)
    counted = multiply_adds(setup, (clip_VBCTHW[:, part], batch.select_videos(part)))
    return counted * scale.batch_clips / part.stop


def multiply_adds(setup: TrainingSetup, device_batch: DeviceBatch) -> float:
    """Multiply-adds of one step: every forward pass, and twice as many again for the one with a
    gradient.

    `setup` has plain layers, since others compute zeros that pad channels. The multiply-adds are
    not counted by running the backward pass: for grouped convolutions PyTorch's counter (2.15) then
    returns 9 times the forward pass.
    """
    clip_VBCTHW, batch = device_batch
    with FlopCounterMode(display=False) as forward:
        setup.take_step(clip_VBCTHW, batch)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        setup.model.get_submodule("backbone")(clip_VBCTHW[0])
    return forward.get_total_flops() / 2 + once.get_total_flops()
