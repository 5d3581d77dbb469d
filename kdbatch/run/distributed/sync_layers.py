"""Modules whose output depends on the whole batch, for processes that each hold a share of it.
Axes: B clips of this process, C channels.

Rank r of W holds the clips r, r + W, r + 2W, ... of the batch. With these modules W processes
compute what one computes on all of it.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.distributed.process_group import ProcessGroup


def synchronize_layers(model: nn.Module, group: ProcessGroup) -> None:
    """Let the batch normalisations and dropouts of `model` see the whole batch. State dicts keep
    their names.

    A network that does not learn by gradients (a key encoder) keeps its own: which clips it
    normalises together is its task's to say.
    """
    if group.world_size == 1:
        return
    for name, module in list(model.named_modules()):
        parent, _, child = name.rpartition(".")
        learns = any(p.requires_grad for p in module.parameters())
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and learns:
            model.get_submodule(parent).add_module(child, _synchronised(module))
        elif isinstance(module, nn.Dropout) and module.p > 0:
            model.get_submodule(parent).add_module(
                child, GlobalBatchDropout(module.p, rank=group.rank, world_size=group.world_size)
            )


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch normalisation with the mean and variance of all processes' clips: PyTorch's on GPUs,
    and the same in plain tensor operations on CPUs, for which PyTorch has none.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.is_cuda or not self.training:
            return super().forward(input)
        assert (
            self.momentum is not None
            and self.running_mean is not None
            and self.running_var is not None
        )
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        total = torch.tensor([input.numel() / input.shape[1]], dtype=torch.float64)
        dist.all_reduce(total)
        count = float(total)
        x = input if input.dtype == torch.float64 else input.float()
        mean_C = all_reduce_sum_with_grad(x.sum(dims)) / count
        centred = x - mean_C.view(shape)
        var_C = (
            all_reduce_sum_with_grad(centred.square().sum(dims)) / count
        )  # in a second pass: one pass cancels where the mean is large
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr] (running statistics are tracked)
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(var_C * count / (count - 1), self.momentum)
        scale_C = self.weight * (var_C + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(shape), centred, scale_C.view(shape)).to(input.dtype)


class GlobalBatchDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch, of which this process uses its own rows: as
    many numbers, and the same, as one process would draw. All processes have the same seed at every
    step.
    """

    def __init__(self, p: float, *, rank: int, world_size: int) -> None:
        super().__init__(p)
        self.rank, self.world_size = rank, world_size

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        ones = torch.ones(
            (self.world_size * len(input), *input.shape[1:]), dtype=input.dtype, device=input.device
        )
        return input * F.dropout(ones, self.p)[self.rank :: self.world_size]


def all_reduce_sum_with_grad(x: Tensor) -> Tensor:
    """The sum over all processes; in the backward pass too, so that each gets the gradient of all
    of their losses.
    """
    return _AllReduceSum.apply(x)  # type: ignore[no-any-return]


@torch.no_grad()
def all_reduce_mean(x: Tensor) -> Tensor:
    """The mean over all processes, without gradient; x itself where there is one."""
    if not dist.is_initialized():
        return x
    total = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _synchronised(module: nn.Module) -> SyncBatchNorm:
    assert isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None
    twin = SyncBatchNorm(module.num_features, eps=module.eps, momentum=module.momentum)
    twin.weight, twin.bias = (
        module.weight,
        module.bias,
    )  # the very parameters, which an optimiser may hold already
    twin.running_mean, twin.running_var, twin.num_batches_tracked = (
        module.running_mean,
        module.running_var,
        module.num_batches_tracked,
    )
    return twin.train(module.training)
