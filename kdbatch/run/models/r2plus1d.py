"""R(2+1)D with 18 layers: torchvision's network and state dict, without the head.

Tran et al. 2018, arXiv:1711.11248. 31.35 M parameters with 101 classes, 40.52 GMAC for a clip of
3x16x112x112.
"""

import torch
from torch import nn
from torchvision.models.video import r2plus1d_18 as torchvision_r2plus1d_18

from kdbatch.run.models.layers.factorised import BatchNorm, SpatialConv, TemporalConv
from kdbatch.run.models.network import VideoBackbone
from kdbatch.run.models.video_resnet import as_backbone, video_resnet


def r2plus1d_18(*, width: float) -> VideoBackbone:
    """The network with random weights, its convolutions in the form of layers/factorised.py."""
    network = video_resnet(torchvision_r2plus1d_18, width=width)
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _use_factorised_layers(module)
    return as_backbone(network, width=width)


def _use_factorised_layers(layers: nn.Sequential) -> None:
    """Replace a 1 x h x w convolution, its batch norm and the t x 1 x 1 convolution after it.

    The new layers have the same parameters and buffers.
    """
    parts = list(layers)[:4]
    if [type(part) for part in parts] != [nn.Conv3d, nn.BatchNorm3d, nn.ReLU, nn.Conv3d]:
        return
    spatial, norm, _, temporal = parts
    assert isinstance(spatial, nn.Conv3d) and isinstance(temporal, nn.Conv3d)
    assert isinstance(norm, nn.BatchNorm3d)
    with torch.device("meta"):  # no weights, so that no random numbers are drawn
        new_norm = BatchNorm(norm.num_features)
    layers[0], layers[3] = (
        _with_weight_of(kind, conv)
        for kind, conv in ((SpatialConv, spatial), (TemporalConv, temporal))
    )
    layers[0].pads_output = True  # pyright: ignore[reportArgumentType]
    new_norm._parameters, new_norm._buffers = norm._parameters, norm._buffers
    layers[1] = new_norm


def _with_weight_of(
    kind: type[SpatialConv] | type[TemporalConv], conv: nn.Conv3d
) -> SpatialConv | TemporalConv:
    assert conv.bias is None and isinstance(conv.padding, tuple)
    k, s, p = conv.kernel_size, conv.stride, conv.padding
    with torch.device("meta"):
        new = kind(
            conv.in_channels,
            conv.out_channels,
            (k[0], k[1], k[2]),
            stride=(s[0], s[1], s[2]),
            padding=(p[0], p[1], p[2]),
            bias=False,
        )
    new.weight = conv.weight
    return new
