"""From a batch to gradients, and from gradients to weights: what every step of training does,
whatever it learns.
"""

import sys
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from kdbatch.run.data.batch import Batch
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.recipes import Schedule

MAX_VERSIONS = 32  # of a compiled layer; more speak of batches of ever other sizes

StepFunction = Callable[[Tensor, Batch], StepOutput]
"""Clips (V, B, C, T, H, W) and their batch -> a loss and what is worth a curve, all means over the
clips.
"""


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    """SGD; parameters outside of the backbone are the head and have a rate of their own.

    Fused: one kernel on a GPU; on a CPU 0.4 to 0.8 of the time of `foreach`, or of one parameter
    after the other, for the networks here.
    """
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["backbone" not in name.split(".")].append(parameter)
    return torch.optim.SGD(
        [
            {"params": groups[False], "lr_factor": 1.0},
            {"params": groups[True], "lr_factor": schedule.head_lr_factor},
        ],
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def compute_gradients(
    model: nn.Module,
    take_step: StepFunction,
    device_batch: DeviceBatch,
    *,
    num_micro_batches: int,
    group: ProcessGroup,
    stop_requested: Callable[[], bool],
) -> dict[str, Tensor]:
    """Leave the gradient of the mean loss over the whole batch in the parameters of `model`, the
    same in every process of `team`.

    The batch is taken in `num_parts` parts, one after the other. Returns the loss, the norm of the
    gradient, what the steps report, and `stop`, above 0 where any process was asked to stop: all of
    it on the device, carried by the one all-reduce of the gradients. That comes after the backward
    pass instead of during it: steps call several networks in orders of their own, and it is 0.06
    GB.
    """
    model.zero_grad(set_to_none=True)
    names, number_N = _backward(take_step, device_batch, num_micro_batches)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    # Filled, not copied from the host: a GPU is not waited for.
    number_N = torch.cat([number_N, torch.full((1,), float(stop_requested()), device=number_N.device)])
    number_N = group.average_(gradients, number_N)
    norm = torch.nn.utils.get_total_norm(gradients)
    return dict(zip((*names, "stop", "gradient_norm"), (*number_N.unbind(), norm), strict=True))


def _backward(
    take_step: StepFunction, fed: DeviceBatch, num_parts: int
) -> tuple[list[str], Tensor]:
    """Names and batch means of the loss and of what was reported."""
    clip_VBCTHW, batch = fed
    device, num_videos = clip_VBCTHW.device, len(batch.keys)
    names: list[str] = []
    total_N: Tensor | None = None
    for part in micro_batch_slices(num_videos, num_parts):
        whole = num_parts == 1
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            taken = take_step(
                clip_VBCTHW if whole else clip_VBCTHW[:, part],
                batch if whole else batch.select_videos(part),
            )
        share = (part.stop - part.start) / num_videos
        (taken.loss if whole else taken.loss * share).backward()
        names = ["loss", *taken.report]
        number_N = (
            torch.stack([v.detach().float() for v in (taken.loss, *taken.report.values())]) * share
        )
        total_N = number_N if total_N is None else total_N + number_N
    assert total_N is not None
    return names, total_N


def micro_batch_slices(num_videos: int, num_parts: int) -> list[slice]:
    """`num_videos` places in at most `num_parts` parts, equal to within one; none is empty."""
    num_parts = min(num_parts, num_videos)
    edges = [i * num_videos // num_parts for i in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def can_compile(group: ProcessGroup) -> bool:
    """On a GPU that trains alone: batch statistics that processes share
    (run/distributed/sync_layers.py) cannot be part of one graph.
    """
    return group.device.type == "cuda" and group.world_size == 1


def compile_layers(model: nn.Module, *, backend: str | Callable[..., object] = "inductor") -> None:
    """Let torch.compile fuse each top layer of the backbones in `model`, in place; names of the
    state dict stay.

    Layer by layer, because that compiles in seconds and leaves the order of calls to the step. A
    layer is compiled once for each batch size, in training and in evaluation.
    """
    # Every module is called through the same code, whose versions PyTorch counts together and takes
    # for too many: 8 of all networks. Each
    # layer counts its own, and how many layers there are is no sign of a mistake.
    torch.compiler.config.accumulated_recompile_limit = sys.maxsize
    for module in model.modules():
        if isinstance(module, VideoBackbone):
            for name in module.layer_names:
                module.get_submodule(name).compile(
                    dynamic=False,
                    fullgraph=True,
                    backend=backend,
                    isolate_recompiles=True,
                    recompile_limit=MAX_VERSIONS,
                )
