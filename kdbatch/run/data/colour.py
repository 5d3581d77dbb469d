"""Colours of clips. Axes: B clips, C=3 channels, T frames, H, W; values 0 to 1.

As torchvision's ColorJitter: brightness scales, contrast blends with the mean grey of a frame,
saturation with its grey, hue turns the HSV circle.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

GRAY = (0.299, 0.587, 0.114)


class ColourParams(Protocol):
    """What of a clip's draw is about colour; factors 1, 1, 1, 0 leave colours alone."""

    @property
    def gray(self) -> bool: ...
    @property
    def brightness(self) -> float: ...
    @property
    def contrast(self) -> float: ...
    @property
    def saturation(self) -> float: ...
    @property
    def hue(self) -> float: ...


def apply_colour(clip_BCTHW: Tensor, params: Sequence[ColourParams]) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, in this order; a step that no clip asks for is
    skipped. May change its input.
    """

    def factors(name: str) -> Tensor:
        return _per_clip(
            torch.tensor([getattr(d, name) for d in params], dtype=torch.float32), clip_BCTHW.device
        )

    if any(d.brightness != 1 for d in params):
        clip_BCTHW = clip_BCTHW.mul_(factors("brightness")).clamp_(0, 1)
    if any(d.contrast != 1 for d in params):
        mean = to_gray(clip_BCTHW).mean(dim=(-1, -2), keepdim=True)
        clip_BCTHW = torch.lerp(mean, clip_BCTHW, factors("contrast")).clamp_(0, 1)
    if any(d.saturation != 1 for d in params):
        clip_BCTHW = torch.lerp(to_gray(clip_BCTHW), clip_BCTHW, factors("saturation")).clamp_(0, 1)
    if any(d.hue != 0 for d in params):
        clip_BCTHW = shift_hue(clip_BCTHW, factors("hue"))
    if any(d.gray for d in params):
        chosen = _per_clip(torch.tensor([d.gray for d in params]), clip_BCTHW.device)
        clip_BCTHW = torch.where(chosen, to_gray(clip_BCTHW), clip_BCTHW)
    return clip_BCTHW


def to_gray(clip_BCTHW: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, shape (B, 1, T, H, W)."""
    r, g, b = clip_BCTHW.unbind(1)
    return (r * GRAY[0]).add_(g, alpha=GRAY[1]).add_(b, alpha=GRAY[2]).unsqueeze(1)


def shift_hue(clip_BCTHW: Tensor, turn_B1111: Tensor) -> Tensor:
    """Turn the hue by a share of the circle; value and saturation of HSV stay.

    The circle has six sectors, from red at 0 over green at 2 to blue at 4. With channels scaled to
    lie between 0 and 1, green and blue rise and red falls by one each on the way from sector 0 to
    3, so g + b + 1 - r is the distance from red, and g - b says on which side. Turned, a channel is
    low from three to two sectors from its own place and rises in the next: high - span * clamp(d -
    1, 0, 1). No comparison is needed, which a CPU would take most of its time for.
    """
    r, g, b = clip_BCTHW.unbind(1)
    high, low = torch.maximum(r, g).maximum(b), torch.minimum(r, g).minimum(b)
    span = high - low
    far = (
        (g + b).sub_(r).sub_(low).div_(span.clamp(min=1e-20)).add_(1)
    )  # without a span there is no hue, and any sector will do
    sector = torch.copysign(far, g - b).add_(6 * turn_B1111.squeeze(1))
    sector.sub_(sector.div(6).round_(), alpha=6)  # now between -3 and 3
    out_BCTHW = torch.empty_like(clip_BCTHW)
    for channel, place in enumerate((0, 2, -2)):
        rise = (sector - place).abs_().sub_(1)
        if place:  # from 0 no sector is more than half a circle away
            rise = torch.minimum(rise, 4 - rise)
        torch.addcmul(high, span, rise.clamp_(0, 1), value=-1, out=out_BCTHW[:, channel])
    return out_BCTHW


def _per_clip(value_B: Tensor, device: torch.device) -> Tensor:
    return value_B.to(device, non_blocking=True).view(-1, 1, 1, 1, 1)
