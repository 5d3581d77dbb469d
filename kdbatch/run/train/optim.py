"""Gradients of a batch, and the optimizer: the parts that all training steps share."""

import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import Batch
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.train.optimizers import Optimizer
from kdbatch.run.train.optimizers.adamw import FusedAdamW
from kdbatch.run.train.optimizers.sgd import FusedSGD
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.recipes.schedule import Schedule

# Whether parameters are the head's, and whether they are decayed.
_GROUPS = ((False, True), (True, True), (False, False), (True, False))

StepFunction = Callable[[Tensor, Batch], StepOutput]
"""Clips (V, B, C, T, H, W) and their batch -> the loss and metrics, all means over the clips."""


def make_optimizer(model: nn.Module, schedule: Schedule) -> Optimizer:
    """The optimizer of `schedule`, in which the head has a learning rate of its own.

    Every parameter outside of `backbone` belongs to the head. AdamW decays the weights of layers
    alone, SGD all parameters: neither biases nor norms nor tables of positions are decayed by
    AdamW, as in the sources of the networks that it trains. Optimizers are fused: one kernel on a
    GPU; on a CPU 0.4 to 0.8 of the time of `foreach` or of a loop over parameters, for the
    networks here.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {kind: [] for kind in _GROUPS}
    is_adamw = schedule.optimizer == "adamw"
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts = name.split(".")
            decays = not is_adamw or (parts[-1] == "weight" and parameter.dim() > 1)
            groups["backbone" not in parts, decays].append(parameter)
    factors = {False: 1.0, True: schedule.head_lr_factor}
    if is_adamw:
        decayed = [
            (params, factors[is_head], schedule.weight_decay if decays else 0.0)
            for (is_head, decays), params in groups.items()
        ]
        return FusedAdamW(decayed, lr=schedule.lr, beta1=schedule.momentum)
    return FusedSGD(
        [(groups[is_head, True], factor) for is_head, factor in factors.items()],
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )


def set_lr(optimizer: Optimizer, lr: float) -> None:
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
    """Store the gradient of the mean loss over the whole batch in the parameters of `model`.

    The gradient is equal on all ranks of `group`. The batch is processed in `num_micro_batches`
    parts, one after the other.

    Returns the loss, the norm of the gradient, the metrics of the steps, and `stop`, which is above
    0 where any rank was asked to stop. All of them stay on the device and travel in the one
    all-reduce of the gradients, which follows the backward pass instead of overlapping with it,
    because steps call several networks in their own order, and only 0.06 GB are sent.
    """
    model.zero_grad(set_to_none=True)
    names, value_N = _backward(take_step, device_batch, num_micro_batches)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    # torch.full fills on the device: a copy from the host would wait for a GPU.
    stop_1 = torch.full((1,), float(stop_requested()), device=value_N.device)
    value_N = group.average_(gradients, torch.cat([value_N, stop_1]))
    norm = torch.nn.utils.get_total_norm(gradients)
    return dict(zip((*names, "stop", "gradient_norm"), (*value_N.unbind(), norm), strict=True))


def _backward(
    take_step: StepFunction, device_batch: DeviceBatch, num_micro_batches: int
) -> tuple[list[str], Tensor]:
    """Run the backward pass; return the names and batch means of the loss and the metrics."""
    clip_VBCTHW, batch = device_batch
    device, num_videos = clip_VBCTHW.device, len(batch.keys)
    names: list[str] = []
    total_N: Tensor | None = None
    for part in micro_batch_slices(num_videos, num_micro_batches):
        whole = num_micro_batches == 1
        half = torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")
        with half, _explain_single_values():
            output = take_step(
                clip_VBCTHW if whole else clip_VBCTHW[:, part],
                batch if whole else batch.select_videos(part),
            )
        share = (part.stop - part.start) / num_videos
        (output.loss if whole else output.loss * share).backward()
        names = ["loss", *output.report]
        values = [value.detach().float() for value in (output.loss, *output.report.values())]
        value_N = torch.stack(values) * share
        total_N = value_N if total_N is None else total_N + value_N
    assert total_N is not None
    return names, total_N


@contextlib.contextmanager
def _explain_single_values() -> Iterator[None]:
    """Say what to change where batch normalisation has a single value per channel inside.

    Raises:
        UserError: a part of a batch has one clip, and a map of it one position.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "a part of a batch has one clip, whose last map has one position: batch normalisation "
            "needs two values. Raise batch_clips of this stage in the profile, or lower its "
            f"num_micro_batches, then: {resume_command(retry_failed=True)}"
        ) from error


def micro_batch_slices(num_videos: int, num_micro_batches: int) -> list[slice]:
    """Slices of at most `num_micro_batches` parts of a batch, equal to within one video.

    None of them is empty.
    """
    num_parts = min(num_micro_batches, num_videos)
    edges = [i * num_videos // num_parts for i in range(num_parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]
