"""PRP's weights of its reconstruction loss: how much each place of a clip moves.

Yao et al., CVPR 2020, arXiv:2006.11476. Axes: B clips, C=3 channels, G groups of frames, M=4 frames
of a group, H, W, F frames that are weighted, N = B * C * G, P x P positions of a window.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST_WEIGHT, HIGHEST_WEIGHT = 0.8, 2.0
# A smaller span of mean squared differences is rounding: one pixel of 112 x 112 that moves by one
# of 255 steps makes 6e-9.
MIN_SPAN = 1e-9


def motion_weights(pixels_BCGMHW: Tensor, group_F: Tensor) -> Tensor:
    """Weights of F frames, frame f belonging to group `group_F[f]`; shape (B, C, F, H, W).

    Per group: squared differences of successive frames are averaged over all differences and over
    windows of a quarter of the picture's side, a quarter of a window apart. The smallest mean of a
    channel gets LOWEST_WEIGHT, the largest HIGHEST_WEIGHT, and the weights are interpolated
    bilinearly to the picture's size. A channel without motion gets 1, which changes nothing: its
    quotient would be 0/0.
    """
    height, width = pixels_BCGMHW.shape[-2:]
    window = (max(1, height // 4), max(1, width // 4))
    stride = (max(1, height // 16), max(1, width // 16))
    change_BCGHW = pixels_BCGMHW.diff(dim=3).square().mean(3)
    change_N1HW = change_BCGHW.flatten(0, 2).unsqueeze(1)
    mean_NPP = F.avg_pool2d(change_N1HW, window, stride).squeeze(1)
    least_N11, most_N11 = mean_NPP.amin((1, 2), keepdim=True), mean_NPP.amax((1, 2), keepdim=True)
    span_N11 = most_N11 - least_N11
    weight_span = HIGHEST_WEIGHT - LOWEST_WEIGHT
    weight_NPP = LOWEST_WEIGHT + weight_span * (mean_NPP - least_N11) / span_N11.clamp(min=MIN_SPAN)
    weight_NPP = torch.where(span_N11 > MIN_SPAN, weight_NPP, 1.0)
    weight_N1HW = F.interpolate(
        weight_NPP.unsqueeze(1), size=(height, width), mode="bilinear", align_corners=False
    )
    weight_BCGHW = weight_N1HW.squeeze(1).unflatten(0, pixels_BCGMHW.shape[:3])
    return weight_BCGHW[:, :, group_F]
