"""Batches that a slow device has time for, and the multiply-adds of a step."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.variants import TrainingSetup, make_training_setup
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.vocab.backbones import Backbone

SMALLER_CLIPS = ((4, 32), (8, 56))
"""Frames and pixels of clips that are tried before those that were asked for."""
_TIMED_SHARE = 0.8  # of the time: the rest is for making networks and for steps that take longer


def affordable_scale(
    stage: str,
    scale: StepScale,
    *,
    num_rows: int,
    deadline: float,
    seconds_of: Callable[[StepScale], float],
) -> tuple[StepScale, float]:
    """The largest batch of which there is time for two steps of each row, and the seconds that one
    step of the smallest batch of whole clips takes.

    Clips of fewer frames and pixels are tried first, with the fewest clips of a batch; the smallest
    of them is taken however long it takes. `seconds_of` measures a step.
    """
    tried = least_of(stage, scale, *SMALLER_CLIPS[0])
    seconds = seconds_of(tried)
    for frames, pixels in (*SMALLER_CLIPS[1:], (scale.num_frames, scale.size_pixels)):
        larger = least_of(stage, scale, frames, pixels)
        if 2 * num_rows * seconds * _size(larger) / _size(tried) > _time_left(deadline):
            break
        if larger != tried:
            tried, seconds = larger, seconds_of(larger)
    whole = least_of(stage, scale, scale.num_frames, scale.size_pixels)
    clips = int(tried.batch_clips * _time_left(deadline) / (2 * num_rows * seconds))
    clips = max(tried.batch_clips, min(clips, scale.batch_clips))
    return replace(tried, batch_clips=clips), seconds * _size(whole) / _size(tried)


def least_of(stage: str, scale: StepScale, num_frames: int, size_pixels: int) -> StepScale:
    """The smallest batch of clips of so many frames and pixels, or of those of `scale`."""
    frames, pixels = min(num_frames, scale.num_frames), min(size_pixels, scale.size_pixels)
    least = replace(scale, num_frames=frames, size_pixels=pixels)
    return replace(least, batch_clips=least_clips(stage, least))


def _size(scale: StepScale) -> int:
    return scale.batch_clips * scale.num_frames * scale.size_pixels**2


def _time_left(deadline: float) -> float:
    return _TIMED_SHARE * (deadline - time.monotonic())


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
