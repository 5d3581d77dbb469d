"""Tiny3D: three 3D convolutions."""

from torch import nn

from kdbatch.run.models import VideoBackbone
from kdbatch.run.models.network import scaled_channels


def tiny3d(*, width: float) -> VideoBackbone:
    """The network with random weights; `width` is that of the profile, and multiplies channels.

    `layers` run in order and end in the map (B, D, T, H, W) that heads read; their names are those
    of the state dict. `stem` and `units` are the modules that CKA compares.
    """
    layers: dict[str, nn.Module] = {}
    inputs = 3
    for number, channels in enumerate((32, 64, 128), start=1):
        outputs = scaled_channels(channels, width)
        # Space is halved by each, time by all but the first.
        stride = (1, 2, 2) if number == 1 else (2, 2, 2)
        conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        # A ReLU that overwrites its input would overwrite what CKA compares.
        layers[f"conv{number}"] = nn.Sequential(conv, nn.BatchNorm3d(outputs), nn.ReLU())
        inputs = outputs
    return VideoBackbone(layers, stem=("conv1",), units=("conv2", "conv3"), feature_dim=inputs)
