"""Counts the multiply-adds of a network."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_multiply_adds(model: nn.Module, *, num_frames: int = 16, size_pixels: int = 112) -> int:
    """The multiply-adds of the forward pass of one clip, (1, 3, T, H, W).

    Those of convolutions and matrix products count, the ones of attention among them; norms, pools
    and additions do not. A model on the meta device has shapes without numbers, so that counting
    takes no time. The model must be in evaluation mode, its layers in their plain form.
    """
    assert not model.training
    device = next(model.parameters()).device
    clip_BCTHW = torch.empty(1, 3, num_frames, size_pixels, size_pixels, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(clip_BCTHW)
    return counter.get_total_flops() // 2
