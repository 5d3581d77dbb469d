"""R(2+1)D with 18 layers: torchvision's network and state dict, without the head.

Tran et al. 2018, arXiv:1711.11248. 31.35 M parameters with 101 classes, 40.52 GMAC for a clip of
3x16x112x112. A width other than 1 rebuilds every convolution and batch norm with scaled channel
counts; the initial weights follow torchvision's rule either way.
"""

import torch
from torch import nn
from torchvision.models.video import r2plus1d_18 as torchvision_r2plus1d_18

from kdbatch.run.models.layers.factorised import BatchNorm, SpatialConv, TemporalConv
from kdbatch.run.models.network import VideoBackbone, scaled_channels

LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")


def r2plus1d_18(*, width: float) -> VideoBackbone:
    """The network with random weights (kaiming normal, fan out).

    ReLUs are not in place, so that a captured map is not overwritten.
    """
    if width == 1.0:
        network = torchvision_r2plus1d_18(weights=None)
    else:
        with torch.device("meta"):  # only the structure: every layer with weights is replaced
            network = torchvision_r2plus1d_18(weights=None)
        _rebuild(network, width)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, nn.Sequential):
            _use_factorised_layers(module)
    layers = {name: network.get_submodule(name) for name in LAYERS}
    units = tuple(f"layer{stage}.{i}" for stage in (1, 2, 3, 4) for i in range(2))
    return VideoBackbone(
        layers, stem=("stem",), units=units, feature_dim=scaled_channels(512, width)
    )


def _rebuild(network: nn.Module, width: float) -> None:
    for name, module in list(network.named_modules()):
        parent, _, child = name.rpartition(".")
        if isinstance(module, nn.Conv3d):
            network.get_submodule(parent).add_module(child, _scaled_conv(module, width))
        elif isinstance(module, nn.BatchNorm3d):
            network.get_submodule(parent).add_module(
                child, nn.BatchNorm3d(scaled_channels(module.num_features, width))
            )


def _scaled_conv(conv: nn.Conv3d, width: float) -> nn.Conv3d:
    in_channels = 3 if conv.in_channels == 3 else scaled_channels(conv.in_channels, width)
    sizes = {"kernel_size": conv.kernel_size, "stride": conv.stride, "padding": conv.padding}
    narrow = nn.Conv3d(in_channels, scaled_channels(conv.out_channels, width), bias=False, **sizes)  # pyright: ignore[reportArgumentType] (triples)
    nn.init.kaiming_normal_(narrow.weight, mode="fan_out", nonlinearity="relu")
    return narrow


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
