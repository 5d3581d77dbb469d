"""R(2+1)D with 10 layers, one residual block per stage: Tran et al. 2018, arXiv:1711.11248.

In the layout of VCOP (Xu et al., CVPR 2019). It is what self-supervised video work calls "R(2+1)D":
14.42 M parameters with 101 classes, 21.36 GMAC for a clip of 3x16x112x112. torchvision's
r2plus1d_18 is another network: two blocks per stage, 45 channels inside the stem where this one has
83, and plain convolutions on the shortcuts where these are factorised too. Never mix the two in one
table.

The state dict has VCOP's names (xudejing/video-clip-order-prediction:models/r21d.py, the same as in
PRP's repository) without the head:

    conv1.{spatial_conv.weight, bn.*, temporal_conv.weight}, bn1.*                  stem
    conv2.block1.{conv1.{spatial_conv, bn, temporal_conv}, bn1, conv2.{...}, bn2}   64 channels;
    conv3, conv4, conv5: 128, 256, 512 conv3.block1.{downsampleconv.{spatial_conv, bn,
    temporal_conv}, downsamplebn}   and in conv4, conv5
"""

from collections import OrderedDict

from torch import Tensor, nn

from kdbatch.run.models.layers.factorised import BatchNorm, SpatialConv, TemporalConv
from kdbatch.run.models.network import VideoBackbone, scaled_channels

Triple = tuple[int, int, int]
ONE: Triple = (1, 1, 1)


class FactorisedConv(nn.Module):
    """A 3D convolution split in two: 1 x h x w, BN, ReLU, t x 1 x 1 (arXiv:1711.11248, sec. 3.5).

    It has about as many weights as the 3D convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Triple,
        stride: Triple = ONE,
        padding: Triple = (0, 0, 0),
    ) -> None:
        super().__init__()
        (t, h, w), (stride_t, stride_h, stride_w), (pad_t, pad_h, pad_w) = kernel, stride, padding
        num_weights = t * h * w * in_channels * out_channels
        mid = max(1, num_weights // (h * w * in_channels + t * out_channels))
        self.spatial_conv = SpatialConv(
            in_channels,
            mid,
            (1, h, w),
            stride=(1, stride_h, stride_w),
            padding=(0, pad_h, pad_w),
            bias=False,
        )
        self.spatial_conv.pads_output = True
        self.bn = BatchNorm(mid)
        self.relu = nn.ReLU()
        self.temporal_conv = TemporalConv(
            mid, out_channels, (t, 1, 1), stride=(stride_t, 1, 1), padding=(pad_t, 0, 0), bias=False
        )

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.temporal_conv(self.relu(self.bn(self.spatial_conv(x_BCTHW))))


class ResidualBlock(nn.Module):
    """Two factorised 3x3x3 convolutions and a shortcut.

    With `halve` the map's T, H and W are halved, and the shortcut is a factorised 1x1x1
    convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool) -> None:
        super().__init__()
        stride = (2, 2, 2) if halve else ONE
        self.halve = halve
        if halve:
            self.downsampleconv = FactorisedConv(
                in_channels, out_channels, kernel=ONE, stride=stride
            )
            self.downsamplebn = nn.BatchNorm3d(out_channels)
        self.conv1 = FactorisedConv(
            in_channels, out_channels, kernel=(3, 3, 3), stride=stride, padding=ONE
        )
        self.bn1 = nn.BatchNorm3d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = FactorisedConv(out_channels, out_channels, kernel=(3, 3, 3), padding=ONE)
        self.bn2 = nn.BatchNorm3d(out_channels)
        self.outrelu = nn.ReLU()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        branch = self.relu1(self.bn1(self.conv1(x_BCTHW)))
        branch = self.bn2(self.conv2(branch))
        shortcut = self.downsamplebn(self.downsampleconv(x_BCTHW)) if self.halve else x_BCTHW
        return self.outrelu(shortcut + branch)


def r21d_10(*, width: float) -> VideoBackbone:
    """The network with PyTorch's default initial weights, as its source has.

    Maps of a 16x112x112 clip at width 1: 64x16x56x56 (stem), 64x16x56x56, 128x8x28x28, 256x4x14x14,
    512x2x7x7.
    """
    stem, *stages = (scaled_channels(channels, width) for channels in (64, 64, 128, 256, 512))
    layers: dict[str, nn.Module] = {
        "conv1": FactorisedConv(3, stem, kernel=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3)),
        "bn1": nn.BatchNorm3d(stem),
        "relu1": nn.ReLU(),
    }
    in_channels = stem
    for i, out_channels in enumerate(stages):
        block = ResidualBlock(in_channels, out_channels, halve=i > 0)
        layers[f"conv{i + 2}"] = nn.Sequential(OrderedDict(block1=block))
        in_channels = out_channels
    units = tuple(f"conv{i + 2}.block1" for i in range(len(stages)))
    return VideoBackbone(layers, stem=("relu1",), units=units, feature_dim=in_channels)
