"""Colour augmentation of clips, as torchvision's ColorJitter.

Brightness scales, contrast blends with the mean grey of a frame, saturation blends with the grey of
each pixel, hue rotates the HSV circle. Axes: B clips, C=3 channels, T frames, H, W; values 0 to 1.
"""

import torch
from torch import Tensor

GRAY = (0.299, 0.587, 0.114)


def apply_colour(
    clip_BCTHW: Tensor,
    *,
    brightness_B: Tensor | None = None,
    contrast_B: Tensor | None = None,
    saturation_B: Tensor | None = None,
    hue_B: Tensor | None = None,
    gray_B: Tensor | None = None,
) -> Tensor:
    """Apply brightness, contrast, saturation, hue and grey, in this order. May change its input.

    Factors of 1, and a hue and a grey of 0, leave a clip as it is; None leaves out the step.
    """
    if brightness_B is not None:
        clip_BCTHW = clip_BCTHW.mul_(_per_clip(brightness_B)).clamp_(0, 1)
    if contrast_B is not None:
        mean = to_gray(clip_BCTHW).mean(dim=(-1, -2), keepdim=True)
        clip_BCTHW = torch.lerp(mean, clip_BCTHW, _per_clip(contrast_B)).clamp_(0, 1)
    if saturation_B is not None:
        gray = to_gray(clip_BCTHW)
        clip_BCTHW = torch.lerp(gray, clip_BCTHW, _per_clip(saturation_B)).clamp_(0, 1)
    if hue_B is not None:
        clip_BCTHW = shift_hue(clip_BCTHW, _per_clip(hue_B))
    if gray_B is not None:
        clip_BCTHW = torch.where(_per_clip(gray_B) != 0, to_gray(clip_BCTHW), clip_BCTHW)
    return clip_BCTHW


def to_gray(clip_BCTHW: Tensor) -> Tensor:
    """Luma of ITU-R BT.601, shape (B, 1, T, H, W)."""
    r, g, b = clip_BCTHW.unbind(1)
    return (r * GRAY[0]).add_(g, alpha=GRAY[1]).add_(b, alpha=GRAY[2]).unsqueeze(1)


def shift_hue(clip_BCTHW: Tensor, shift_B1111: Tensor) -> Tensor:
    """Rotate the hue by a fraction of the circle; value and saturation of HSV stay the same.

    The circle has six sectors, from red at 0 over green at 2 to blue at 4. With channels scaled to
    lie between 0 and 1, green and blue rise and red falls by one each on the way from sector 0 to
    3, so g + b + 1 - r is the distance from red, and the sign of g - b is the side. After the
    rotation, a channel at distance d from its own sector is high - span * clamp(d - 1, 0, 1): low
    from distance 3 to 2, and rising from 2 to 1. This needs no comparisons, which would take most
    of the time on a CPU.
    """
    r, g, b = clip_BCTHW.unbind(1)
    high, low = torch.maximum(r, g).maximum(b), torch.minimum(r, g).minimum(b)
    span = high - low
    # Where the span is 0 there is no hue, and any sector will do.
    from_red = (g + b).sub_(r).sub_(low).div_(span.clamp(min=1e-20)).add_(1)
    sector = torch.copysign(from_red, g - b).add_(6 * shift_B1111.squeeze(1))
    sector.sub_(sector.div(6).round_(), alpha=6)  # now between -3 and 3
    out_BCTHW = torch.empty_like(clip_BCTHW)
    for channel, own_sector in enumerate((0, 2, -2)):
        rise = (sector - own_sector).abs_().sub_(1)
        if own_sector:  # from 0 no sector is more than half a circle away
            rise = torch.minimum(rise, 4 - rise)
        torch.addcmul(high, span, rise.clamp_(0, 1), value=-1, out=out_BCTHW[:, channel])
    return out_BCTHW


def _per_clip(value_B: Tensor) -> Tensor:
    return value_B.view(-1, 1, 1, 1, 1)
