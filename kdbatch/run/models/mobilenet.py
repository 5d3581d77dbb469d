"""3D MobileNetV2, 1.0x: Köpüklü et al. 2019, arXiv:1904.02422.

After Sandler et al. 2018, arXiv:1801.04381. 2.48 M parameters with 101 classes, 0.518 GMAC for a
clip of 3x16x112x112; with the 600 classes of its source 3.1 M, as in arXiv:2306.06010, whose 1.1 G
count additions apart. Layout and state dict names are those of
okankop/Efficient-3DCNNs:models/mobilenetv2.py without the head. Below 1.0x that one keeps the 1280
channels of its last map; here a width scales them too, as in all networks.
"""

import math

from torch import Tensor, nn

from kdbatch.run.models.network import VideoBackbone, scaled_channels

_STEM, _LAST = 32, 1280
# Of each stage: the factor of its inner channels, its channels, its blocks, the first one's stride.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv(
    in_channels: int, channels: int, kernel: int, *, groups: int = 1, stride: int = 1
) -> list[nn.Module]:
    conv = nn.Conv3d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm3d(channels)]


class InvertedResidual(nn.Module):
    """A 1x1x1 convolution to more channels, a depthwise 3x3x3 one, a 1x1x1 one back to few.

    Nothing follows the last batch norm but the addition of the input, where it has the same shape.
    """

    def __init__(self, in_channels: int, out_channels: int, *, factor: int, stride: int) -> None:
        super().__init__()
        inner = factor * in_channels
        self.adds_input = stride == 1 and in_channels == out_channels
        widen = [*_conv(in_channels, inner, 1), nn.ReLU6()] if factor > 1 else []
        depthwise = _conv(inner, inner, 3, groups=inner, stride=stride)
        self.conv = nn.Sequential(*widen, *depthwise, nn.ReLU6(), *_conv(inner, out_channels, 1))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        branch = self.conv(x_BCTHW)
        return x_BCTHW + branch if self.adds_input else branch


def mobilenet3d(*, width: float) -> VideoBackbone:
    """The network with its source's initial weights: normal, fan out (of a whole convolution).

    Maps of a 16x112x112 clip at width 1: 32x16x56x56 (stem), 16x16x56x56, 24x8x28x28, 32x4x14x14,
    64x2x7x7, 96x2x7x7, 160x1x4x4, 320x1x4x4, 1280x1x4x4.
    """
    in_channels = scaled_channels(_STEM, width)
    stem = nn.Conv3d(3, in_channels, 3, stride=(1, 2, 2), padding=1, bias=False)
    parts = [nn.Sequential(stem, nn.BatchNorm3d(in_channels), nn.ReLU6())]
    for factor, channels, num_blocks, stride in _STAGES:
        out_channels = scaled_channels(channels, width)
        for i in range(num_blocks):
            block_stride = 1 if i else stride
            block = InvertedResidual(in_channels, out_channels, factor=factor, stride=block_stride)
            parts.append(block)  # pyright: ignore[reportArgumentType]
            in_channels = out_channels
    feature_dim = scaled_channels(_LAST, width)
    features = nn.Sequential(*parts, nn.Sequential(*_conv(in_channels, feature_dim, 1), nn.ReLU6()))
    for module in features.modules():
        if isinstance(module, nn.Conv3d):
            std = math.sqrt(2 / (math.prod(module.kernel_size) * module.out_channels))
            nn.init.normal_(module.weight, std=std)
    units = tuple(f"features.{i}" for i in range(1, len(parts)))
    return VideoBackbone(
        {"features": features},
        unrolled="features",
        stem=("features.0",),
        units=units,
        feature_dim=feature_dim,
    )
