"""Augmentation: parameters are drawn once per clip where clips are cut, applied to whole batches on the device.

Axes: B clips, C=3 channels, T frames, H, W. Colours follow torchvision's ColorJitter: brightness scales, contrast blends with the mean
grey of a frame, saturation with its grey, hue turns the HSV circle.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.vocab.views import Augment

# Kinetics-400 statistics of torchvision's video networks; one pair for every network, so that teachers and students see equal inputs.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)
GRAY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Draw:
    """What happens to one clip. `box` is top, left, height, width in stored pixels; colour factors 1, 1, 1, 0 leave colours alone."""

    box: tuple[int, int, int, int]
    flip: bool
    gray: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def draw_augment(augment: Augment, *, height: int, width: int, rng: np.random.Generator) -> Draw:
    """Draw the parameters of one clip whose stored frames are `height` x `width`. The number of draws does not depend on their values."""
    box = _box(augment, height, width, rng)
    flip, gray, jitter = rng.random(3) < (augment.flip_probability, augment.gray_probability, augment.jitter_probability)
    strength = np.array([augment.brightness, augment.contrast, augment.saturation, augment.hue]) * jitter
    low = np.array([max(0.0, 1 - strength[0]), max(0.0, 1 - strength[1]), max(0.0, 1 - strength[2]), -strength[3]])
    brightness, contrast, saturation, hue = (float(v) for v in rng.uniform(low, [*(1 + strength[:3]), strength[3]]))
    return Draw(box, bool(flip), bool(gray), brightness, contrast, saturation, hue)


def _box(augment: Augment, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    side = min(height, width)
    center = ((height - side) // 2, (width - side) // 2, side, side)
    if augment.crop == "center":
        return center
    if augment.crop == "random":
        return (int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1)), side, side)
    # Ten tries of a random area and aspect ratio, then the centre: Szegedy et al. 2015, arXiv:1409.4842, as torchvision does it.
    for area, log_aspect, y, x in rng.random((10, 4)) * (1, 1, 1, 1):
        target = height * width * (augment.min_area + area * (augment.max_area - augment.min_area))
        aspect = math.exp((2 * log_aspect - 1) * math.log(4 / 3))
        h, w = round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
        if 0 < h <= height and 0 < w <= width:
            return (int(y * (height - h + 1)), int(x * (width - w + 1)), h, w)
    return center


def cut(frame_THWC: np.ndarray, draw: Draw) -> np.ndarray:
    """The drawn box of every frame, still uint8: the cheap half of a resized crop, done before the clip travels."""
    top, left, height, width = draw.box
    return np.ascontiguousarray(frame_THWC[:, top : top + height, left : left + width])


def apply_draws(clips: Sequence[Tensor], draws: Sequence[Draw], *, size_pixels: int, device: torch.device) -> Tensor:
    """Cut uint8 clips (each THWC, of its own size) -> normalised float clips (BCTHW)."""
    resized = []
    for clip_THWC in clips:
        frame_TCHW = clip_THWC.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
        resized.append(F.interpolate(frame_TCHW, size=(size_pixels, size_pixels), mode="bilinear", antialias=True))
    clip_BCTHW = torch.stack(resized).transpose(1, 2).contiguous().div_(255)
    flip_B = torch.tensor([d.flip for d in draws], device=device)
    clip_BCTHW = torch.where(_per_clip(flip_B), clip_BCTHW.flip(-1), clip_BCTHW)
    clip_BCTHW = _colour(clip_BCTHW, draws)
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1, 1) for v in (MEAN, STD))
    return (clip_BCTHW - mean) / std


def _colour(clip_BCTHW: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, in this order; a step that no clip asks for is skipped."""

    def factors(name: str) -> Tensor:
        return _per_clip(torch.tensor([getattr(d, name) for d in draws], device=clip_BCTHW.device, dtype=torch.float32))

    if any(d.brightness != 1 for d in draws):
        clip_BCTHW = (clip_BCTHW * factors("brightness")).clamp_(0, 1)
    if any(d.contrast != 1 for d in draws):
        mean = gray_of(clip_BCTHW).mean(dim=(-1, -2), keepdim=True)
        clip_BCTHW = (mean + (clip_BCTHW - mean) * factors("contrast")).clamp_(0, 1)
    if any(d.saturation != 1 for d in draws):
        gray = gray_of(clip_BCTHW)
        clip_BCTHW = (gray + (clip_BCTHW - gray) * factors("saturation")).clamp_(0, 1)
    if any(d.hue != 0 for d in draws):
        clip_BCTHW = turn_hue(clip_BCTHW, factors("hue"))
    if any(d.gray for d in draws):
        chosen = _per_clip(torch.tensor([d.gray for d in draws], device=clip_BCTHW.device))
        clip_BCTHW = torch.where(chosen, gray_of(clip_BCTHW), clip_BCTHW)
    return clip_BCTHW


def gray_of(clip_BCTHW: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, shape (B, 1, T, H, W)."""
    r, g, b = clip_BCTHW.unbind(1)
    return (GRAY[0] * r + GRAY[1] * g + GRAY[2] * b).unsqueeze(1)


def turn_hue(clip_BCTHW: Tensor, turn_B1111: Tensor) -> Tensor:
    """Turn the hue by a share of the circle; value and saturation of HSV stay.

    A channel of an HSV colour is v - v*s*clamp(min(k, 4 - k), 0, 1) with k = (n + 6h) mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    high, low = clip_BCTHW.amax(1), clip_BCTHW.amin(1)
    span = high - low
    r, g, b = clip_BCTHW.unbind(1)
    safe = torch.where(span > 0, span, torch.ones_like(span))
    sector = torch.where(high == r, (g - b) / safe, torch.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    sector = sector + 6 * turn_B1111.squeeze(1)
    channels = []
    for n in (5, 3, 1):
        k = torch.remainder(n + sector, 6)
        channels.append(high - span * torch.minimum(k, 4 - k).clamp_(0, 1))
    return torch.stack(channels, dim=1)


def _per_clip(value_B: Tensor) -> Tensor:
    return value_B.view(-1, 1, 1, 1, 1)
