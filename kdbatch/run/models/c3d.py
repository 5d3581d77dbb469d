"""C3D with batch norm: eight plain 3D convolutions, Tran et al. 2015, arXiv:1412.0767.

27.71 M parameters with 101 classes, 32.95 GMAC for a clip of 3x16x112x112. Layout and state dict
names are those of okankop/Efficient-3DCNNs:models/c3d.py up to its last map. Its two layers of 4096
neurons (50 M parameters) fit one size of clips only; here, as in VCOP and in the benchmark of
arXiv:2306.06010 (27.7 M), the head takes the mean of the map.
"""

from torch import nn

from kdbatch.run.models.layers.fitting_pool import FittingMaxPool
from kdbatch.run.models.network import VideoBackbone, scaled_channels

# Channels of the convolutions of each group; a pool of 2 x 2 x 2 ends it.
_GROUPS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def c3d(*, width: float) -> VideoBackbone:
    """The network with PyTorch's default initial weights, as its source has.

    Maps of a 16x112x112 clip at width 1: 64x15x56x56 (the first pool moves by single frames),
    128x7x28x28, 256x3x14x14, 512x1x7x7, 512x1x4x4.
    """
    layers: dict[str, nn.Module] = {}
    in_channels = 3
    for number, widths in enumerate(_GROUPS, start=1):
        parts: list[nn.Module] = []
        for channels in (scaled_channels(num, width) for num in widths):
            conv = nn.Conv3d(in_channels, channels, 3, padding=1)
            parts += [conv, nn.BatchNorm3d(channels), nn.ReLU()]
            in_channels = channels
        layers[f"group{number}"] = nn.Sequential(*parts, _pool(number))
    units = tuple(f"group{number}" for number in range(2, len(_GROUPS) + 1))
    return VideoBackbone(layers, stem=("group1",), units=units, feature_dim=in_channels)


def _pool(number: int) -> FittingMaxPool:
    """The pool of a group; the first keeps the frames, the last has a border of one pixel."""
    if number == len(_GROUPS):
        return FittingMaxPool((1, 2, 2), stride=(2, 2, 2), padding=(0, 1, 1))
    stride = (1, 2, 2) if number == 1 else (2, 2, 2)
    return FittingMaxPool((2, 2, 2), stride=stride, padding=(0, 0, 0))
