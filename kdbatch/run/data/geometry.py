"""Resizing, flips, rotations and blur of clips, and resizing of feature maps.

On a GPU resizing, and everywhere blurring, is a product with one matrix per clip on each side, so
that a batch takes two products whatever its parameters are.

Axes: B clips, C=3 channels (D of a feature map), T frames, H, W; S side of the resized square.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_clips(
    clips: Sequence[Tensor], flips: Sequence[bool], *, size_pixels: int, device: torch.device
) -> Tensor:
    """Resize uint8 clips (each THWC, of its own size) to S x S (BTHWC), and mirror some of them.

    Antialiased bilinear; clip b is mirrored where `flips[b]`. A CPU returns uint8, rounded after
    each of the two directions: as image libraries do, and six times as fast as in floating point. A
    GPU returns float32, which differs by less than 1.5.
    """
    if device.type != "cpu":
        return resize_batch(clips, flips, size_pixels=size_pixels, device=device)
    resized = []
    for clip_THWC, flip in zip(clips, flips, strict=True):
        size = (size_pixels, size_pixels)
        # Channels stay innermost, for which torch has a vectorised routine; contiguous planes take
        # three times as long.
        clip_TCHW = F.interpolate(
            clip_THWC.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True
        )
        if flip:
            clip_TCHW = clip_TCHW.flip(-1)
        resized.append(clip_TCHW.permute(0, 2, 3, 1))
    return torch.stack(resized)


def resize_batch(
    clips: Sequence[Tensor], flips: Sequence[bool], *, size_pixels: int, device: torch.device
) -> Tensor:
    """As `resize_clips`, in float32, for all clips at once.

    The clips are padded to one size on the device where they are; padding has no weight.
    """
    heights, widths = ([clip.shape[axis] for clip in clips] for axis in (1, 2))
    shape = (len(clips), len(clips[0]), max(heights), max(widths), 3)
    padded_BTHWC = torch.zeros(shape, dtype=torch.uint8, device=clips[0].device)
    for clip_THWC, padded_THWC in zip(clips, padded_BTHWC, strict=True):
        padded_THWC[:, : clip_THWC.shape[1], : clip_THWC.shape[2]] = clip_THWC
    padded_BTHWC = padded_BTHWC.to(device, non_blocking=True)
    rows_BSH = resize_matrix(heights, max(heights), size_pixels)
    columns_BSW = resize_matrix(widths, max(widths), size_pixels)
    is_flipped_B11 = torch.tensor(flips)[:, None, None]
    columns_BSW = torch.where(is_flipped_B11, columns_BSW.flip(1), columns_BSW)
    rows_BSH, columns_BSW = (m.to(device, non_blocking=True) for m in (rows_BSH, columns_BSW))
    with torch.autocast(device.type, enabled=False):
        clip_BTSWC = torch.einsum("bsh,bthwc->btswc", rows_BSH, padded_BTHWC.float())
        return torch.einsum("brw,btswc->btsrc", columns_BSW, clip_BTSWC)


def resize_matrix(lengths: Sequence[int], padded: int, size: int) -> Tensor:
    """Weights of input pixels in each output pixel, shape (B, S, padded).

    Rows sum to 1, and are 0 beyond a clip's own length. The weights are a triangle around the
    centre of the output pixel, which extends to each side by one input pixel, or by one output
    pixel where that is more.
    """
    length_B11 = torch.tensor(lengths, dtype=torch.float32).view(-1, 1, 1)
    scale = length_B11 / size
    centre = (torch.arange(size).view(1, -1, 1) + 0.5) * scale
    position = torch.arange(padded).view(1, 1, -1)
    triangle = (1 - (position + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weight = triangle * (position < length_B11)
    return weight / weight.sum(-1, keepdim=True)


def rotate(clip_BCTHW: Tensor, degrees: Sequence[float]) -> Tensor:
    """Rotate square clips counter-clockwise about their centre.

    Corners are filled by reflection: black corners would give the angle away.
    """
    if not any(degrees):
        return clip_BCTHW
    angle_B = torch.tensor(degrees).to(clip_BCTHW.device, non_blocking=True) * (math.pi / 180)
    cos, sin, zero = angle_B.cos(), angle_B.sin(), torch.zeros_like(angle_B)
    # affine_grid maps output positions to input positions, so this is the inverse rotation.
    rows = [torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)]
    inverse_B23 = torch.stack(rows, 1)
    flat_BNHW = clip_BCTHW.flatten(1, 2)
    grid_BHW2 = F.affine_grid(inverse_B23, list(flat_BNHW.shape), align_corners=False)
    turned = F.grid_sample(
        flat_BNHW, grid_BHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned.unflatten(1, clip_BCTHW.shape[1:3])


def blur(clip_BCTHW: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Gaussian blur of square clips; `sigmas` in pixels, 0 for no blur.

    At the border the kernel is normalised over the part that is inside the frame.
    """
    if not any(sigmas):
        return clip_BCTHW
    position = torch.arange(clip_BCTHW.shape[-1], device=clip_BCTHW.device)
    sigma_B11 = torch.tensor(sigmas).to(clip_BCTHW.device, non_blocking=True).view(-1, 1, 1)
    sigma_B11 = sigma_B11.clamp(min=1e-3)  # so narrow a kernel is the pixel alone
    kernel_BSS = torch.exp(-((position[:, None] - position) ** 2) / (2 * sigma_B11**2))
    kernel_B11SS = (kernel_BSS / kernel_BSS.sum(-1, keepdim=True))[:, None, None]
    return kernel_B11SS @ clip_BCTHW @ kernel_B11SS.mT


def resize_map(map_BDTHW: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a feature map to `size` (frames, rows, columns), trilinearly, if it differs."""
    if map_BDTHW.shape[2:] == tuple(size):
        return map_BDTHW
    return F.interpolate(map_BDTHW, size=tuple(size), mode="trilinear", align_corners=False)
