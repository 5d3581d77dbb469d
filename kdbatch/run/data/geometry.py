"""Sizes, flips, rotations and blur of clips, and sizes of maps. Axes: B clips, C=3 channels (D of a
map), T frames, H, W; S the side of the square that clips become.

Resizing and blurring are products with a matrix on each side, one pair per clip, so that a batch is
two products whatever was drawn.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_clips(
    clips: Sequence[Tensor], flips: Sequence[bool], *, size_pixels: int, device: torch.device
) -> Tensor:
    """uint8 clips (each THWC, of its own size) -> BTHWC of size S x S: antialiased bilinear, then
    mirrored where `flips` says so.

    A CPU gives uint8, rounded after each of the two directions: as image libraries do, and six
    times as fast as in floating point. A GPU gives float32, which is within 1.5 of it.
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
        resized.append((clip_TCHW.flip(-1) if flip else clip_TCHW).permute(0, 2, 3, 1))
    return torch.stack(resized)


def resize_batch(
    clips: Sequence[Tensor], flips: Sequence[bool], *, size_pixels: int, device: torch.device
) -> Tensor:
    """As `resize_clips`, in float32, all clips at once: they lie in one padded block, made where
    they are, and padding has no weight.
    """
    height, width = (max(clip.shape[axis] for clip in clips) for axis in (1, 2))
    block_BTHWC = torch.zeros(
        (len(clips), len(clips[0]), height, width, 3), dtype=torch.uint8, device=clips[0].device
    )
    for clip_THWC, room_THWC in zip(clips, block_BTHWC, strict=True):
        room_THWC[:, : clip_THWC.shape[1], : clip_THWC.shape[2]] = clip_THWC
    block_BTHWC = block_BTHWC.to(device, non_blocking=True)
    down_BSH = resize_matrix([clip.shape[1] for clip in clips], height, size_pixels).to(
        device, non_blocking=True
    )
    across_BSW = resize_matrix([clip.shape[2] for clip in clips], width, size_pixels)
    across_BSW = torch.where(torch.tensor(flips)[:, None, None], across_BSW.flip(1), across_BSW).to(
        device, non_blocking=True
    )
    with torch.autocast(device.type, enabled=False):
        clip_BTSWC = torch.einsum("bsh,bthwc->btswc", down_BSH, block_BTHWC.float())
        return torch.einsum("brw,btswc->btsrc", across_BSW, clip_BTSWC)


def resize_matrix(lengths: Sequence[int], padded: int, size: int) -> Tensor:
    """Shape (B, S, padded): row s holds the shares of the pixels that make up output pixel s; zero
    beyond a clip's own length.

    A triangle around the output pixel's centre, one input pixel wide to each side, or one output
    pixel where that is more.
    """
    length_B11 = torch.tensor(lengths, dtype=torch.float32).view(-1, 1, 1)
    scale = length_B11 / size
    centre = (torch.arange(size).view(1, -1, 1) + 0.5) * scale
    place = torch.arange(padded).view(1, 1, -1)
    share = (1 - (place + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0) * (
        place < length_B11
    )
    return share / share.sum(-1, keepdim=True)


def rotate(clip_BCTHW: Tensor, degrees: Sequence[float]) -> Tensor:
    """Turn square clips counter-clockwise about their centre. Corners mirror the picture: black
    ones would give the angle away.
    """
    if not any(degrees):
        return clip_BCTHW
    angle_B = torch.tensor(degrees).to(clip_BCTHW.device, non_blocking=True) * (math.pi / 180)
    cos, sin, zero = angle_B.cos(), angle_B.sin(), torch.zeros_like(angle_B)
    where_B23 = torch.stack(
        [torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1
    )  # from out to in: the inverse
    flat_BNHW = clip_BCTHW.flatten(1, 2)
    grid_BHW2 = F.affine_grid(where_B23, list(flat_BNHW.shape), align_corners=False)
    turned = F.grid_sample(
        flat_BNHW, grid_BHW2, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return turned.unflatten(1, clip_BCTHW.shape[1:3])


def blur(clip_BCTHW: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Gaussian blur of square clips, sigma in pixels, 0 for none; at the border the part of the
    bell that is inside counts as all of it.
    """
    if not any(sigmas):
        return clip_BCTHW
    place = torch.arange(clip_BCTHW.shape[-1], device=clip_BCTHW.device)
    sigma_B11 = (
        torch.tensor(sigmas).to(clip_BCTHW.device, non_blocking=True).view(-1, 1, 1).clamp(min=1e-3)
    )  # so narrow: the pixel alone
    bell_BSS = torch.exp(-((place[:, None] - place) ** 2) / (2 * sigma_B11**2))
    bell_B11SS = (bell_BSS / bell_BSS.sum(-1, keepdim=True))[:, None, None]
    return bell_B11SS @ clip_BCTHW @ bell_B11SS.mT


def resize_map(map_BDTHW: Tensor, size: Sequence[int]) -> Tensor:
    """A network's map with `size` frames, rows and columns, trilinearly; itself where it has them."""
    if map_BDTHW.shape[2:] == tuple(size):
        return map_BDTHW
    return F.interpolate(map_BDTHW, size=tuple(size), mode="trilinear", align_corners=False)
