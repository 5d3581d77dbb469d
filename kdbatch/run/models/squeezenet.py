"""3D SqueezeNet 1.1: Köpüklü et al. 2019, arXiv:1904.02422.

After Iandola et al. 2016, arXiv:1602.07360. 1.89 M parameters with 101 classes, 0.898 GMAC for a
clip of 3x16x112x112: the 1.9 M and 1.8 G of arXiv:2306.06010, which counts additions apart. Layout
and state dict names are those of okankop/Efficient-3DCNNs:models/squeezenet.py (version 1.1)
without the head. There the head classifies each position, takes a ReLU and then the mean; here, as
in all networks, it is linear in the mean of the map.
"""

import torch
from torch import Tensor, nn

from kdbatch.run.models.network import VideoBackbone, scaled_channels

_STEM = 64
# Squeezed and expanded channels of each fire module, in stages; a pool stands before each stage.
_STAGES = (
    ((16, 128), (16, 128)),
    ((32, 256), (32, 256)),
    ((48, 384), (48, 384)),
    ((64, 512), (64, 512)),
)


class Fire(nn.Module):
    """A 1x1x1 convolution to few channels; then a 1x1x1 and a 3x3x3 one, half of the output each.

    A module whose input has as many channels as its output adds the input.
    """

    def __init__(self, in_channels: int, squeezed: int, out_channels: int) -> None:
        super().__init__()
        self.has_bypass = in_channels == out_channels
        half = out_channels // 2
        self.squeeze = nn.Conv3d(in_channels, squeezed, 1)
        self.squeeze_bn = nn.BatchNorm3d(squeezed)
        self.expand1x1 = nn.Conv3d(squeezed, half, 1)
        self.expand1x1_bn = nn.BatchNorm3d(half)
        self.expand3x3 = nn.Conv3d(squeezed, half, 3, padding=1)
        self.expand3x3_bn = nn.BatchNorm3d(half)
        self.relu = nn.ReLU()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        few = self.relu(self.squeeze_bn(self.squeeze(x_BCTHW)))
        halves = [self.expand1x1_bn(self.expand1x1(few)), self.expand3x3_bn(self.expand3x3(few))]
        out = torch.cat(halves, dim=1)
        return self.relu(out + x_BCTHW if self.has_bypass else out)


def squeezenet3d(*, width: float) -> VideoBackbone:
    """The network with its source's initial weights: kaiming normal, fan out.

    Maps of a 16x112x112 clip at width 1: 64x16x56x56 (stem), then after a pool each 128x8x28x28,
    256x4x14x14, 384x2x7x7, 512x1x4x4.
    """
    in_channels = scaled_channels(_STEM, width)
    stem = nn.Conv3d(3, in_channels, 3, stride=(1, 2, 2), padding=1)
    parts: list[nn.Module] = [stem, nn.BatchNorm3d(in_channels), nn.ReLU()]
    units = []
    for stage in _STAGES:
        parts.append(nn.MaxPool3d(3, stride=2, padding=1))
        for few, many in stage:
            out_channels = scaled_channels(many, width, multiple=2)
            units.append(f"features.{len(parts)}")
            parts.append(Fire(in_channels, scaled_channels(few, width), out_channels))
            in_channels = out_channels
    features = nn.Sequential(*parts)
    for module in features.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
    return VideoBackbone(
        {"features": features},
        unrolled="features",
        stem=("features.2", "features.3"),
        units=tuple(units),
        feature_dim=in_channels,
    )
