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


def resize_clips(clips: Sequence[Tensor], flips: Sequence[bool], *, size_pixels: int) -> Tensor:
    """Resize uint8 clips on a CPU (each THWC, of its own size) to S x S, uint8 (BTHWC).

    Antialiased bilinear; clip b is mirrored where `flips[b]`. Rounded after each of the two
    directions: as image libraries do, and six times as fast as in floating point.
    """
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


def resize_batch(clips: Sequence[Tensor], flip_B: Tensor | None, *, size_pixels: int) -> Tensor:
    """As `resize_clips`, for all clips at once on their device, in float32 (BCTHW): it differs by
    less than 1.5.

    Clip b is mirrored where `flip_B[b]` is not 0. The clips are padded to one size; padding has no
    weight.
    """
    sizes = [clip.shape[1:3] for clip in clips]
    height, width = (max(lengths) for lengths in zip(*sizes, strict=True))
    device = clips[0].device
    shape = (len(clips), len(clips[0]), height, width, 3)
    padded_BTHWC = torch.zeros(shape, dtype=torch.uint8, device=device)
    for clip_THWC, padded_THWC in zip(clips, padded_BTHWC, strict=True):
        padded_THWC[:, : clip_THWC.shape[1], : clip_THWC.shape[2]] = clip_THWC
    size_B2 = torch.tensor(sizes, dtype=torch.float32).to(device, non_blocking=True)
    height_B, width_B = size_B2.T
    rows_BSH = resize_matrix(height_B, height, size_pixels)
    columns_BSW = resize_matrix(width_B, width, size_pixels)
    if flip_B is not None:
        columns_BSW = torch.where(flip_B.bool()[:, None, None], columns_BSW.flip(1), columns_BSW)
    with torch.autocast(device.type, enabled=False):
        # In this order of axes neither product has to move its operands.
        planes_BHCTW = torch.empty((len(clips), height, 3, shape[1], width), device=device)
        planes_BHCTW.copy_(padded_BTHWC.permute(0, 2, 4, 1, 3))
        planes_BSN = rows_BSH @ planes_BHCTW.flatten(2)
        planes_BNS = planes_BSN.view(len(clips), -1, width) @ columns_BSW.mT
        planes_BSCTS = planes_BNS.view(len(clips), size_pixels, 3, shape[1], size_pixels)
        return planes_BSCTS.permute(0, 2, 3, 1, 4).contiguous()


def resize_matrix(length_B: Tensor, padded: int, size: int) -> Tensor:
    """Weights of input pixels in each output pixel, shape (B, S, padded), on the device of
    `length_B`.

    Rows sum to 1, and are 0 beyond a clip's own length. The weights are a triangle around the
    centre of the output pixel, which extends to each side by one input pixel, or by one output
    pixel where that is more.
    """
    length_B11 = length_B.view(-1, 1, 1)
    scale = length_B11 / size
    centre = (torch.arange(size, device=length_B.device).view(1, -1, 1) + 0.5) * scale
    position = torch.arange(padded, device=length_B.device).view(1, 1, -1)
    triangle = (1 - (position + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    weight = triangle * (position < length_B11)
    return weight / weight.sum(-1, keepdim=True)


def rotate(clip_BCTHW: Tensor, degrees_B: Tensor) -> Tensor:
    """Rotate square clips counter-clockwise about their centre.

    Corners are filled by reflection: black corners would give the angle away.
    """
    angle_B = degrees_B * (math.pi / 180)
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


def blur(clip_BCTHW: Tensor, sigma_B: Tensor) -> Tensor:
    """Gaussian blur of square clips; sigmas in pixels, 0 for no blur.

    At the border the kernel is normalised over the part that is inside the frame.
    """
    position = torch.arange(clip_BCTHW.shape[-1], device=clip_BCTHW.device)
    sigma_B11 = sigma_B.view(-1, 1, 1).clamp(min=1e-3)  # so narrow a kernel is the pixel alone
    kernel_BSS = torch.exp(-((position[:, None] - position) ** 2) / (2 * sigma_B11**2))
    kernel_B11SS = (kernel_BSS / kernel_BSS.sum(-1, keepdim=True))[:, None, None]
    return kernel_B11SS @ clip_BCTHW @ kernel_B11SS.mT


def resize_map(map_BDTHW: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a feature map to `size` (frames, rows, columns), trilinearly, if it differs."""
    if map_BDTHW.shape[2:] == tuple(size):
        return map_BDTHW
    return F.interpolate(map_BDTHW, size=tuple(size), mode="trilinear", align_corners=False)
