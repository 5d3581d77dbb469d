"""Batch norms folded into the convolutions before them, in networks that only infer.

Axes: B clips.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from kdbatch.run.models.network import VideoBackbone

_PROBE = (2, 3, 8, 32, 32)


def copy_to_infer(model: nn.Module) -> nn.Module:
    """A copy of `model` in evaluation mode, not compiled, with its batch norms folded."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, VideoBackbone):
            module.compiled = None
    fold_batch_norms(copied)
    return copied


def fold_batch_norms(model: nn.Module) -> int:
    """Fold each batch norm of the backbones in `model` whose input is the output of a convolution
    into that convolution, in place. Returns how many were folded.

    In evaluation mode a batch norm is a scale and an offset per channel, which the convolution
    can have in its weights and a bias: the outputs are equal up to rounding, and the map is read
    and written once less. Layers keep their names; a folded batch norm becomes an identity. The
    model must be in evaluation mode and stay in it, and nothing else may read the output of a
    convolution that a batch norm follows.
    """
    assert not model.training
    backbones = [module for module in model.modules() if isinstance(module, VideoBackbone)]
    return sum(_fold(backbone) for backbone in backbones)


def _fold(backbone: VideoBackbone) -> int:
    pairs = _convolutions_before_batch_norms(backbone)
    for name, conv in pairs.items():
        norm = backbone.get_submodule(name)
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None and norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight,
            conv.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        conv.requires_grad_(norm.weight.requires_grad)
        parent, _, child = name.rpartition(".")
        backbone.get_submodule(parent).add_module(child, nn.Identity())
    return len(pairs)


@torch.no_grad()
def _convolutions_before_batch_norms(backbone: VideoBackbone) -> dict[str, nn.Conv3d]:
    """The convolution whose output each batch norm takes, by the batch norm's name, as a pass with
    zeros finds them.
    """
    made: dict[int, tuple[nn.Conv3d, Tensor]] = {}  # by the output's id; keeps the output alive
    pairs: dict[str, nn.Conv3d] = {}

    def after_conv(conv: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, nn.Conv3d)
        made[id(output)] = (conv, output)

    def before_norm(name: str, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        if id(args[0]) in made:
            pairs[name] = made[id(args[0])][0]

    hooks = []
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv3d):
            hooks.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _BatchNorm):  # a team's too
            hooks.append(module.register_forward_pre_hook(partial(before_norm, name)))
    parameter = next(backbone.parameters())
    try:
        backbone(torch.zeros(_PROBE, device=parameter.device, dtype=parameter.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return pairs
