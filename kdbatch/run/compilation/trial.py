"""Decides whether the networks of a run are compiled, by trying what it decides about.

Compiling took 21 s for R(2+1)D and 47 s for ShuffleNet, and saved 31 % and 24 % of a step (one
H200, PyTorch 2.11, batches of 64 x 16 x 112 x 112). So it is left out where little work is left;
where it fails, or is no faster, the networks compute layer by layer. The log says which.

Runs do not launch compiled kernels as CUDA graphs. The loop launches steps ahead of the GPU, so
graphs save at most the share of a step in which the GPU waits for launches, which each run records
as its idle share. They would keep the memory of a pass, copy each batch into it, and let a teacher
write its outputs over those of another one, with which it shares its code. tests/gpu/measure.py
has a row of them, with the idle share of the row without them.
"""

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import nn

from kdbatch.base.text import duration
from kdbatch.run.compilation.networks import compile_networks, remove_compiled
from kdbatch.run.context import RunContext

COMPILE_SECONDS = 50.0  # of one network and shape of a batch
SAVED_SHARE = 0.2  # of the time of a pass
COMPILE_DEVICES = frozenset({"cuda"})
BACKEND = "inductor"
WITH, WITHOUT = "compiled the networks", "computes without torch.compile"
_log = logging.getLogger(__name__)


def pays(seconds: float, num_versions: int) -> bool:
    """Whether compiling that many versions saves more than it takes, of work of that long."""
    return SAVED_SHARE * seconds > COMPILE_SECONDS * num_versions


def reason_against(context: RunContext, *, infers: bool = False) -> str | None:
    """Why no network is compiled in this run; empty on a CPU, None where one may be. A team may
    compile networks that only infer: no rank waits for another then.
    """
    if context.device.type not in COMPILE_DEVICES:
        return ""
    if not context.compile:
        return "compile = false"
    if context.group.world_size > 1 and not infers:
        return f"batch statistics of {context.group.world_size} processes are no part of one graph"
    return None


def compile_if_it_pays(
    networks: Sequence[nn.Module],
    take_pass: Callable[[], object],
    *,
    device: torch.device,
    passes_left: int,
    num_versions: int = 1,
) -> bool:
    """Compile the backbones of `networks` if that shortens the work that is left.

    `take_pass` runs them once and leaves no trace; `num_versions` counts architectures times shapes
    and modes of a batch. Returns whether they are compiled now.
    """
    plain = _seconds_of(take_pass, device)
    if not pays(plain * passes_left, num_versions):
        left, cost = duration(plain * passes_left), duration(COMPILE_SECONDS * num_versions)
        _log.info("%s: the %s that are left are too few to earn back %s", WITHOUT, left, cost)
        return False
    compile_networks(networks, backend=BACKEND)
    began = time.monotonic()
    try:
        compiled = _seconds_of(take_pass, device)
    except Exception as error:  # of any part of the compiler, or of the tools that it starts
        remove_compiled(networks)
        reason = " ".join(str(error).splitlines()[:2])
        _log.warning("%s, which fails here: %s: %s", WITHOUT, type(error).__name__, reason)
        return False
    if compiled >= plain:
        remove_compiled(networks)
        _log.info("%s: %.3g s with it, %.3g s without", WITHOUT, compiled, plain)
        return False
    taken = time.monotonic() - began
    _log.info("%s in %s: %.3g s with it, %.3g s without", WITH, duration(taken), compiled, plain)
    return True


def _seconds_of(take_pass: Callable[[], object], device: torch.device) -> float:
    """The time of a pass, after one that compiles and chooses algorithms."""
    take_pass()
    _wait_for(device)
    began = time.perf_counter()
    take_pass()
    _wait_for(device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
