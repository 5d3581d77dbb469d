"""Augmentation of clips on the device, a batch at a time (parameters: run/data/augment_params.py).

Order: crop (when a clip is read), resize, flip, small rotation, colours, blur, normalisation.
Axes: B clips, C=3 channels, T frames, H, W.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.colour import apply_colour
from kdbatch.run.data.geometry import blur, resize_batch, resize_clips, rotate

# Kinetics-400 statistics of torchvision's video networks; one pair for every network, so that
# teachers and students see equal inputs.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)


def denormalize(clip_BCTHW: Tensor) -> Tensor:
    """Pixels from 0 to 1 of clips that `apply_augment` normalised."""
    mean, std = _mean_and_std(clip_BCTHW.device)
    return clip_BCTHW * std + mean


@functools.cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """MEAN and STD on the device; cached, because copying them to a GPU waits for it."""
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (MEAN, STD))
    return mean, std


def apply_augment(
    clips: Sequence[Tensor],
    params: Sequence[AugmentParams],
    *,
    size_pixels: int,
    device: torch.device,
) -> Tensor:
    """Turn cropped uint8 clips (each THWC, of its own size) into normalised float clips (BCTHW).

    The parameters travel to the device as a few numbers per clip; what grows with pixels is
    computed there.
    """
    _, *neutral = AugmentParams((0, 0, 0, 0), flip=False, gray=False)
    number_BX = np.array([numbers for _, *numbers in params], np.float32)
    needed_BX = number_BX != np.array(neutral)
    number_XB = to_device(torch.from_numpy(number_BX), device).T
    # bfloat16 has 8 significant bits: the 8 bits of a pixel would not survive it.
    with torch.autocast(device.type, enabled=False):
        if device.type != "cpu":
            values = _values_by_name(number_XB, needed_BX.any(0).tolist())
            clip_BCTHW = resize_batch(clips, values["flip"], size_pixels=size_pixels)
            return _normalize(_change_pixels(clip_BCTHW.div_(255), values))
        clip_BTHWC = resize_clips(clips, [p.flip for p in params], size_pixels=size_pixels)
        out_BCTHW = torch.empty((len(params), 3, *clip_BTHWC.shape[1:4]))
        # One clip fits into the cache of a CPU core, which makes it twice as fast.
        for i, is_needed_X in enumerate(needed_BX.tolist()):
            out_1CTHW, clip_1THWC = out_BCTHW[i : i + 1], clip_BTHWC[i : i + 1]
            clip_1CTHW = out_1CTHW.copy_(clip_1THWC.permute(0, 4, 1, 2, 3)).div_(255)
            values = _values_by_name(number_XB[:, i : i + 1], is_needed_X)
            _normalize(_change_pixels(clip_1CTHW, values), out=out_1CTHW)
        return out_BCTHW


def _values_by_name(number_XB: Tensor, is_needed_X: Sequence[bool]) -> dict[str, Tensor | None]:
    """The value of each parameter per clip, float32 of shape (B,); None where no clip needs it."""
    return {
        name: number_XB[x] if is_needed else None
        for x, (name, is_needed) in enumerate(
            zip(AugmentParams._fields[1:], is_needed_X, strict=True)
        )
    }


def _change_pixels(clip_BCTHW: Tensor, values: dict[str, Tensor | None]) -> Tensor:
    """Rotate, colour and blur clips of values from 0 to 1. May change its input."""
    if values["degrees"] is not None:
        clip_BCTHW = rotate(clip_BCTHW, values["degrees"])
    clip_BCTHW = apply_colour(
        clip_BCTHW,
        brightness_B=values["brightness"],
        contrast_B=values["contrast"],
        saturation_B=values["saturation"],
        hue_B=values["hue"],
        gray_B=values["gray"],
    )
    if values["blur_sigma"] is not None:
        clip_BCTHW = blur(clip_BCTHW, values["blur_sigma"])
    return clip_BCTHW


def _normalize(clip_BCTHW: Tensor, out: Tensor | None = None) -> Tensor:
    mean, std = _mean_and_std(clip_BCTHW.device)
    return torch.sub(clip_BCTHW, mean, out=out).div_(std)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; to a GPU from pinned memory, so that the host does not wait. torch keeps
    the pinned memory for the next copy.
    """
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
