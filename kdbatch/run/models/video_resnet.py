"""The part that torchvision's video ResNets share: any width, and their form as a backbone."""

from collections.abc import Callable

import torch
from torch import nn

from kdbatch.run.models.network import VideoBackbone, scaled_channels

_LAYERS = ("stem", "layer1", "layer2", "layer3", "layer4")


def video_resnet(build: Callable[..., nn.Module], *, width: float) -> nn.Module:
    """torchvision's network with random weights (kaiming normal, fan out).

    A width other than 1 rebuilds every convolution and batch norm with scaled channel counts; the
    initial weights follow torchvision's rule either way. ReLUs are not in place, so that a captured
    map is not overwritten.
    """
    if width == 1.0:
        network = build(weights=None)
    else:
        with torch.device("meta"):  # only the structure: every layer with weights is replaced
            network = build(weights=None)
        _rebuild(network, width)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network


def as_backbone(network: nn.Module, *, width: float) -> VideoBackbone:
    """The network without its head; its units are the residual blocks."""
    layers = {name: network.get_submodule(name) for name in _LAYERS}
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
