"""Augmentation of clips: parameters are drawn once per clip, and applied to batches on the device.

Order: crop (when a clip is read), resize, flip, small rotation, colours, blur, normalisation.
Axes: B clips, C=3 channels, T frames, H, W.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.data.clip_reader import Box
from kdbatch.run.data.colour import apply_colour
from kdbatch.run.data.geometry import blur, resize_clips, rotate
from kdbatch.vocab.views import Augment

# Kinetics-400 statistics of torchvision's video networks; one pair for every network, so that
# teachers and students see equal inputs.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class AugmentParams:
    """Augmentation parameters of one clip.

    `box` is top, left, height, width in stored pixels. Colour factors of 1, 1, 1 and a hue of 0
    change nothing. `degrees` rotate counter-clockwise; `blur_sigma` is in output pixels, 0 for no
    blur.
    """

    box: Box
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
    """Draw the parameters of one clip whose stored frames are `height` x `width`.

    `draw_number` counts the draws of one video: it selects one of three fixed crops where
    `augment.crop` is "three". The number of random numbers drawn does not depend on their values.
    """
    if augment.crop == "three":
        box = _three_crop_box(height, width, draw_number)
    else:
        box = _crop_box(augment, height, width, rng)
    thresholds = augment.flip_probability, augment.gray_probability, augment.jitter_probability
    flip, gray, is_jittered = rng.random(3) < thresholds
    factors = _draw_colour_factors(augment, rng, is_jittered=bool(is_jittered))
    degrees = blur_sigma = 0.0
    if augment.rotation_degrees:
        degrees = float(rng.uniform(-augment.rotation_degrees, augment.rotation_degrees))
    if augment.blur_probability:
        chance, sigma = rng.random(), rng.uniform(augment.min_blur_sigma, augment.max_blur_sigma)
        blur_sigma = float(sigma) if chance < augment.blur_probability else 0.0
    return AugmentParams(box, bool(flip), bool(gray), *factors, degrees, blur_sigma)


def _draw_colour_factors(
    augment: Augment, rng: np.random.Generator, *, is_jittered: bool
) -> tuple[float, float, float, float]:
    """Brightness, contrast, saturation and hue."""
    strength = np.array([augment.brightness, augment.contrast, augment.saturation, augment.hue])
    strength = strength * is_jittered
    low = [*np.maximum(0.0, 1 - strength[:3]), -strength[3]]
    high = [*(1 + strength[:3]), strength[3]]
    brightness, contrast, saturation, hue = map(float, rng.uniform(low, high))
    return brightness, contrast, saturation, hue


def _crop_box(augment: Augment, height: int, width: int, rng: np.random.Generator) -> Box:
    side = max(1, round(min(height, width) * augment.square_side))
    center = ((height - side) // 2, (width - side) // 2, side, side)
    if augment.crop == "center":
        return center
    if augment.crop == "random":
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        return (top, left, side, side)
    # Ten tries of a random area and aspect ratio, then the centre: Szegedy et al. 2015,
    # arXiv:1409.4842, as in torchvision.
    for area, log_aspect, y, x in rng.random((10, 4)):
        target = height * width * (augment.min_area + area * (augment.max_area - augment.min_area))
        aspect = math.exp((2 * log_aspect - 1) * math.log(augment.max_aspect))
        h, w = round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
        if 0 < h <= height and 0 < w <= width:
            return (int(y * (height - h + 1)), int(x * (width - w + 1)), h, w)
    return center


def denormalize(clip_BCTHW: Tensor) -> Tensor:
    """Pixels from 0 to 1 of clips that `apply_augment` normalised."""
    mean, std = _mean_and_std(clip_BCTHW.device)
    return clip_BCTHW * std + mean


@functools.cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """MEAN and STD on the device; cached, because copying them to a GPU waits for it."""
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (MEAN, STD))
    return mean, std


def _three_crop_box(height: int, width: int, number: int) -> Box:
    """One of three squares along the long side, as in the tests of Qian et al. 2021,
    arXiv:2008.03800; the side is 7/8 of the short side (112 of 128 pixels).
    """
    short, long = sorted((height, width))
    side = round(short * 7 / 8)
    middle, along = (short - side) // 2, (long - side) * (number % 3) // 2
    return (middle, along, side, side) if width >= height else (along, middle, side, side)


def apply_augment(
    clips: Sequence[Tensor],
    params: Sequence[AugmentParams],
    *,
    size_pixels: int,
    device: torch.device,
) -> Tensor:
    """Turn cropped uint8 clips (each THWC, of its own size) into normalised float clips (BCTHW)."""
    flips = [p.flip for p in params]
    clip_BTHWC = resize_clips(clips, flips, size_pixels=size_pixels, device=device)
    out_BCTHW = torch.empty((len(params), 3, *clip_BTHWC.shape[1:4]), device=device)
    # One clip fits into the cache of a CPU core, which makes it twice as fast; a GPU is fastest on
    # all of them.
    chunk_clips = 1 if device.type == "cpu" else len(params)
    mean, std = _mean_and_std(device)
    # bfloat16 has 8 significant bits: the 8 bits of a pixel would not survive it.
    with torch.autocast(device.type, enabled=False):
        for start in range(0, len(params), chunk_clips):
            part = slice(start, start + chunk_clips)
            clip_BCTHW = out_BCTHW[part].copy_(clip_BTHWC[part].permute(0, 4, 1, 2, 3)).div_(255)
            clip_BCTHW = rotate(clip_BCTHW, [p.degrees for p in params[part]])
            clip_BCTHW = apply_colour(clip_BCTHW, params[part])
            clip_BCTHW = blur(clip_BCTHW, [p.blur_sigma for p in params[part]])
            torch.sub(clip_BCTHW, mean, out=out_BCTHW[part]).div_(std)
    return out_BCTHW
