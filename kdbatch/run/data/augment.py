"""Augmentation: parameters are drawn once per clip where clips are cut, applied to whole batches on
the device.

Axes: B clips, C=3 channels, T frames, H, W. Order: crop, resize, flip, small rotation, colours,
blur, normalisation.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.data.colour import apply_colour
from kdbatch.run.data.geometry import blur, resize_clips, rotate
from kdbatch.vocab.views import Augment

# Kinetics-400 statistics of torchvision's video networks; one pair for every network, so that
# teachers and students see equal inputs.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class AugmentParams:
    """What happens to one clip. `box` is top, left, height, width in stored pixels; colour factors
    1, 1, 1, 0 leave colours alone.

    `degrees` turn the picture counter-clockwise; `blur_sigma` is in output pixels, 0 for no blur.
    """

    box: tuple[int, int, int, int]
    flip: bool
    gray: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    degrees: float = 0.0
    blur_sigma: float = 0.0


def sample_augment(
    augment: Augment, *, height: int, width: int, rng: np.random.Generator, draw_number: int = 0
) -> AugmentParams:
    """Draw the parameters of one clip whose stored frames are `height` x `width`; `number` counts
    the draws of one video.

    How many random numbers are taken does not depend on their values.
    """
    box = (
        _three_crop_box(height, width, draw_number)
        if augment.crop == "three"
        else _crop_box(augment, height, width, rng)
    )
    flip, gray, jitter = rng.random(3) < (
        augment.flip_probability,
        augment.gray_probability,
        augment.jitter_probability,
    )
    strength = (
        np.array([augment.brightness, augment.contrast, augment.saturation, augment.hue]) * jitter
    )
    low = np.array(
        [
            max(0.0, 1 - strength[0]),
            max(0.0, 1 - strength[1]),
            max(0.0, 1 - strength[2]),
            -strength[3],
        ]
    )
    brightness, contrast, saturation, hue = (
        float(v) for v in rng.uniform(low, [*(1 + strength[:3]), strength[3]])
    )
    degrees = blur_sigma = 0.0
    if augment.rotation_degrees:
        degrees = float(rng.uniform(-augment.rotation_degrees, augment.rotation_degrees))
    if augment.blur_probability:
        blurred, sigma = rng.random(), rng.uniform(augment.min_blur_sigma, augment.max_blur_sigma)
        blur_sigma = float(sigma) if blurred < augment.blur_probability else 0.0
    return AugmentParams(
        box, bool(flip), bool(gray), brightness, contrast, saturation, hue, degrees, blur_sigma
    )


def _crop_box(
    augment: Augment, height: int, width: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    side = max(1, round(min(height, width) * augment.square_side))
    center = ((height - side) // 2, (width - side) // 2, side, side)
    if augment.crop == "center":
        return center
    if augment.crop == "random":
        return (
            int(rng.integers(height - side + 1)),
            int(rng.integers(width - side + 1)),
            side,
            side,
        )
    # Ten tries of a random area and aspect ratio, then the centre: Szegedy et al. 2015,
    # arXiv:1409.4842, as torchvision does it.
    for area, log_aspect, y, x in rng.random((10, 4)):
        target = height * width * (augment.min_area + area * (augment.max_area - augment.min_area))
        aspect = math.exp((2 * log_aspect - 1) * math.log(augment.max_aspect))
        h, w = round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
        if 0 < h <= height and 0 < w <= width:
            return (int(y * (height - h + 1)), int(x * (width - w + 1)), h, w)
    return center


def denormalize(clip_BCTHW: Tensor) -> Tensor:
    """Pixels from 0 to 1 of clips that `apply_draws` normalised."""
    mean, std = _mean_and_std(clip_BCTHW.device)
    return clip_BCTHW * std + mean


@functools.cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """MEAN and STD of every pixel. Kept, because a GPU is waited for when they are brought to it."""
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (MEAN, STD))
    return mean, std


def _three_crop_box(height: int, width: int, number: int) -> tuple[int, int, int, int]:
    """Squares of 7/8 of the short side (112 of 128 pixels): Qian et al. 2021, arXiv:2008.03800,
    test with three along the long side.
    """
    side = round(min(height, width) * 7 / 8)
    middle, along = (
        (min(height, width) - side) // 2,
        (max(height, width) - side) * (number % 3) // 2,
    )
    return (middle, along, side, side) if width >= height else (along, middle, side, side)


def apply_augment(
    clips: Sequence[Tensor],
    params: Sequence[AugmentParams],
    *,
    size_pixels: int,
    device: torch.device,
) -> Tensor:
    """Cut uint8 clips (each THWC, of its own size) -> normalised float clips (BCTHW)."""
    clip_BTHWC = resize_clips(
        clips, [d.flip for d in params], size_pixels=size_pixels, device=device
    )
    out_BCTHW = torch.empty((len(params), 3, *clip_BTHWC.shape[1:4]), device=device)
    # A CPU is twice as fast on what fits into a core's cache: one clip. A GPU wants all of them.
    at_once = 1 if device.type == "cpu" else len(params)
    mean, std = _mean_and_std(device)
    with torch.autocast(
        device.type, enabled=False
    ):  # 8 bits of a pixel do not survive the 8 bits of bfloat16
        for start in range(0, len(params), at_once):
            part = slice(start, start + at_once)
            clip_BCTHW = out_BCTHW[part].copy_(clip_BTHWC[part].permute(0, 4, 1, 2, 3)).div_(255)
            clip_BCTHW = rotate(clip_BCTHW, [d.degrees for d in params[part]])
            clip_BCTHW = apply_colour(clip_BCTHW, params[part])
            clip_BCTHW = blur(clip_BCTHW, [d.blur_sigma for d in params[part]])
            torch.sub(clip_BCTHW, mean, out=out_BCTHW[part]).div_(std)
    return out_BCTHW
