"""Compiles the backbones of networks as a whole, in place."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from kdbatch.run.models import VideoBackbone

# Versions of compiled code in one process: one for each architecture, shape of a batch and mode.
# More are a sign of batches whose size varies without end.
MAX_VERSIONS = 64


def compile_networks(
    networks: Iterable[nn.Module],
    *,
    backend: str | Callable[..., object] = "inductor",
    cuda_graphs: bool = False,
) -> None:
    """Let the backbones in `networks` compute compiled, each as one graph; state dicts stay.

    Compiling itself happens when a backbone meets a shape or a mode for the first time. Weights are
    arguments of the code, so networks of one architecture share it. With `cuda_graphs` the kernels
    of a pass are launched together, from memory that stays taken.
    """
    compiled = _compiled(backend, cuda_graphs)
    for backbone in _backbones(networks):
        backbone.compiled = compiled


def remove_compiled(networks: Iterable[nn.Module]) -> None:
    """Let the backbones in `networks` compute layer by layer again."""
    for backbone in _backbones(networks):
        backbone.compiled = None


def _backbones(networks: Iterable[nn.Module]) -> list[VideoBackbone]:
    modules = (module for network in networks for module in network.modules())
    return [module for module in modules if isinstance(module, VideoBackbone)]


@functools.cache
def _compiled(backend: str | Callable[..., object], cuda_graphs: bool) -> Callable[..., Any]:
    """One compiled function for all backbones of the process."""
    limits = {"isolate_recompiles": True, "recompile_limit": MAX_VERSIONS}
    if not limits.keys() <= inspect.signature(torch.compile).parameters.keys():
        # Older PyTorch has one limit for the versions of all functions together.
        limits = {}
        torch.compiler.config.recompile_limit = sys.maxsize
    torch.compiler.config.accumulated_recompile_limit = sys.maxsize
    return torch.compile(
        VideoBackbone.run_layers,
        dynamic=False,
        fullgraph=True,
        backend=backend,
        mode="reduce-overhead" if cuda_graphs else None,
        **limits,
    )
