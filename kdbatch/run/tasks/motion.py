"""Where a clip moves: PRP's weights of its reconstruction loss. Yao et al., CVPR 2020,
arXiv:2006.11476.

Axes: B clips, C=3 channels, G groups of frames, M=4 frames of a group, H, W, F frames that are
weighted; P places of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOW, HIGH = 0.8, 2.0
# a span of mean squared differences below it is rounding: one pixel of 112 x 112 that moves by one
# of 255 steps makes 6e-9
STILL = 1e-9


def motion_weights(pixels_BCGMHW: Tensor, group_F: Tensor) -> Tensor:
    """Weights from LOW to HIGH for F frames, frame f belonging to group `group_F[f]`; shape (B, C,
    F, H, W).

    Per group: squared differences of successive frames, their mean in windows over all differences
    and a quarter of the picture's side, a quarter of a window apart; from the least to the most of
    a channel they become LOW to HIGH, and grow back to the picture's size bilinearly. A channel in
    which nothing moves gets 1, the weight that changes nothing: its quotient would be 0/0.
    """
    height, width = pixels_BCGMHW.shape[-2:]
    change_BCGMHW = pixels_BCGMHW.diff(dim=3).square()
    window = (max(1, height // 4), max(1, width // 4))
    stride = (max(1, height // 16), max(1, width // 16))
    mean_NPP = F.avg_pool2d(
        change_BCGMHW.mean(3).flatten(0, 2).unsqueeze(1), window, stride
    ).squeeze(1)
    least_N11, most_N11 = mean_NPP.amin((1, 2), keepdim=True), mean_NPP.amax((1, 2), keepdim=True)
    span_N11 = most_N11 - least_N11
    weight_NPP = LOW + (HIGH - LOW) * (mean_NPP - least_N11) / span_N11.clamp(min=STILL)
    weight_NPP = torch.where(span_N11 > STILL, weight_NPP, 1.0)
    weight_NHW = F.interpolate(
        weight_NPP.unsqueeze(1), size=(height, width), mode="bilinear", align_corners=False
    ).squeeze(1)
    return weight_NHW.unflatten(0, pixels_BCGMHW.shape[:3])[:, :, group_F]
