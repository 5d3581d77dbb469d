"""3D ShuffleNet V1, 2.0x, 3 groups: Köpüklü et al. 2019, arXiv:1904.02422.

After Zhang et al. 2018, arXiv:1707.01083. 3.80 M parameters with 101 classes, 0.513 GMAC for a clip
of 3x16x112x112. Layout and state dict names are those of
okankop/Efficient-3DCNNs:models/shufflenet.py without the head, so that its released weights fit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.models.layers.forms import FAST_DEVICES, TwoForms
from kdbatch.run.models.layers.kernel_trial import kernel_runs
from kdbatch.run.models.network import VideoBackbone, scaled_channels

GROUPS = 3
STEM = 48
# Channels and number of units of each stage; its first unit halves T, H and W.
STAGE_SHAPES = ((480, 4), (960, 8), (1920, 4))


class PointwiseConv(TwoForms, nn.Conv3d):
    """A 1 x 1 x 1 convolution in groups.

    In the fast form it is one product of a channels-last map, seen as a matrix, with the weights of
    all groups in one matrix, which is zero elsewhere. Three times the multiplications stay below
    the time in which the map is read; separate products of the groups would need their channels in
    separate blocks of memory, and so copies of the map.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.is_fast("groups", input):
            return super().forward(input)
        own = torch.eye(self.groups, dtype=self.weight.dtype, device=self.weight.device)
        weight_GOGI = self.weight.view(self.groups, -1, 1, self.in_channels // self.groups)
        weight_OI = (weight_GOGI * own[:, None, :, None]).reshape(self.out_channels, -1)
        return F.linear(input.movedim(1, -1), weight_OI, self.bias).movedim(-1, 1)


class ShuffledDepthwiseConv(TwoForms, nn.Conv3d):
    """A channel shuffle and a depthwise 3 x 3 x 3 convolution; both in one kernel on a GPU."""

    def forward(self, input: Tensor) -> Tensor:
        on_gpu = input.device.type in FAST_DEVICES["depthwise"]
        if self.form == "plain" or not (on_gpu and kernel_runs(input.device, GROUPS)):
            return super().forward(shuffle_channels(input))
        # Triton takes a third of a second to import, and only a GPU needs it.
        from kdbatch.run.models.layers.depthwise import shuffled_depthwise  # noqa: PLC0415

        out_BTHWC = shuffled_depthwise(
            input.movedim(1, -1), self.weight.flatten(1), self.stride[0], GROUPS
        )
        out = out_BTHWC.movedim(-1, 1)
        return out if self.bias is None else out + self.bias.to(out.dtype).view(-1, 1, 1, 1)


class ShortcutPool(TwoForms, nn.AvgPool3d):
    """The mean of 2 x 3 x 3, with a stride of 2, of a map with a border of zeros.

    In the fast form frames are pooled one by one, and then pairs of frames: PyTorch's 3D pool
    copies a channels-last map into another order first.
    """

    def forward(self, input: Tensor) -> Tensor:
        num_clips, _, num_frames = input.shape[:3]
        if num_frames % 2 or not self.is_fast("shortcut", input):
            return super().forward(pad_for_pooling(input))
        frame_NCHW = F.avg_pool2d(input.transpose(1, 2).flatten(0, 1), 3, stride=2, padding=1)
        frame_BTCHW = frame_NCHW.unflatten(0, (num_clips, num_frames))
        return torch.lerp(frame_BTCHW[:, 0::2], frame_BTCHW[:, 1::2], 0.5).transpose(1, 2)


class ShuffleUnit(nn.Module):
    """Grouped 1x1x1, shuffle, depthwise 3x3x3, grouped 1x1x1, merged with the input.

    The merge is an addition, or a concatenation with `halve`. The first 1x1x1 has no groups when
    the input has 24 channels, as in the source. There the rule was meant for the first unit, but at
    2.0x that one has 48 channels and is grouped; so are the released weights.
    """

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool) -> None:
        super().__init__()
        mid = out_channels // 4
        branch = out_channels - in_channels if halve else out_channels
        self.halve = halve
        self.conv1 = PointwiseConv(
            in_channels, mid, 1, groups=1 if in_channels == 24 else GROUPS, bias=False
        )
        self.bn1 = nn.BatchNorm3d(mid)
        self.conv2 = ShuffledDepthwiseConv(
            mid, mid, 3, stride=2 if halve else 1, padding=1, groups=mid, bias=False
        )
        self.bn2 = nn.BatchNorm3d(mid)
        self.conv3 = PointwiseConv(mid, branch, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm3d(branch)
        self.relu = nn.ReLU()
        if halve:
            self.shortcut = ShortcutPool((2, 3, 3), stride=2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        branch = self.relu(self.bn1(self.conv1(x_BCTHW)))
        branch = self.bn2(self.conv2(branch))  # shuffles the channels
        branch = self.bn3(self.conv3(branch))
        if self.halve:
            return self.relu(torch.cat([branch, self.shortcut(x_BCTHW)], dim=1))
        return self.relu(branch + x_BCTHW)


def shuffle_channels(x_BCTHW: Tensor) -> Tensor:
    """Channel j of group g becomes channel g of group j: the next convolution sees all groups."""
    return x_BCTHW.unflatten(1, (GROUPS, -1)).transpose(1, 2).flatten(1, 2)


def pad_for_pooling(x_BCTHW: Tensor) -> Tensor:
    """Add a border of zeros, which the source's pool averages too, and make the frames even.

    The border is added before the pool, which accepts no map smaller than its window. The last of
    an odd number of frames is repeated, so that the pool's output is as long as the convolution's.
    """
    if x_BCTHW.shape[2] % 2:
        x_BCTHW = torch.cat([x_BCTHW, x_BCTHW[:, :, -1:]], dim=2)
    return F.pad(x_BCTHW, (1, 1, 1, 1))


def shufflenet_2x(*, width: float) -> VideoBackbone:
    """The network with PyTorch's default initial weights, as its source has; width 0.5 is the
    published 1.0x.

    Maps of a 16x112x112 clip at width 1: 48x16x56x56 (stem), 480x4x14x14, 960x2x7x7, 1920x1x4x4.
    """
    in_channels = scaled_channels(STEM, width, multiple=GROUPS)
    stem = nn.Conv3d(3, in_channels, 3, stride=(1, 2, 2), padding=1, bias=False)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Sequential(stem, nn.BatchNorm3d(in_channels), nn.ReLU()),
        "maxpool": nn.MaxPool3d(3, stride=2, padding=1),
    }
    for stage, (channels, num_units) in enumerate(STAGE_SHAPES, start=1):
        multiple = 4 * GROUPS  # a quarter of them is grouped too
        # The branch of the first unit has those that its input has not, which rounding may take.
        out_channels = max(
            scaled_channels(channels, width, multiple=multiple),
            (in_channels // multiple + 1) * multiple,
        )
        first = ShuffleUnit(in_channels, out_channels, halve=True)
        rest = (ShuffleUnit(out_channels, out_channels, halve=False) for _ in range(num_units - 1))
        layers[f"layer{stage}"] = nn.Sequential(first, *rest)
        in_channels = out_channels
    units = tuple(
        f"layer{stage}.{i}"
        for stage, (_, num_units) in enumerate(STAGE_SHAPES, start=1)
        for i in range(num_units)
    )
    return VideoBackbone(layers, stem=("conv1", "maxpool"), units=units, feature_dim=in_channels)
