"""Batch normalisation and dropout over the whole batch, of which each rank holds a share.

Axes: B clips of this process, C channels. Rank r of W holds the clips r, r + W, r + 2W, ... of the
batch. With these modules W processes compute what one computes on all of it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.distributed.process_group import ProcessGroup


def synchronize_layers(model: nn.Module, group: ProcessGroup) -> None:
    """Let the batch normalisations and dropouts of `model` see the whole batch, in place.

    State dicts keep their names. A batch normalisation whose parameters have no gradient (that of
    a key encoder) is left alone: its task decides which clips it normalises together.
    """
    if group.world_size == 1:
        return
    for name, module in list(model.named_modules()):
        parent, _, child = name.rpartition(".")
        is_trained = any(p.requires_grad for p in module.parameters())
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and is_trained:
            model.get_submodule(parent).add_module(child, _synchronized(module, group))
        elif isinstance(module, nn.Dropout) and module.p > 0:
            dropout = GlobalBatchDropout(module.p, rank=group.rank, world_size=group.world_size)
            model.get_submodule(parent).add_module(child, dropout)


class SyncBatchNorm(nn.SyncBatchNorm):
    """Batch normalisation with the mean and variance of the clips of all ranks.

    PyTorch's own on GPUs; the same in plain tensor operations on CPUs, for which PyTorch has none.
    """

    def __init__(
        self, num_features: int, *, eps: float, momentum: float, group: ProcessGroup
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.group = group

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[1] != self.num_features:
            # The others are zero: run/models/layers/factorised.py pads maps with them.
            input = input[:, : self.num_features]
        if input.is_cuda or not self.training:
            return super().forward(input)
        assert self.momentum is not None
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        dims = [d for d in range(input.dim()) if d != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        num_values = torch.tensor([input.numel() / input.shape[1]], dtype=torch.float64)
        count = float(self.group.all_reduce_sum(num_values))
        x = input if input.dtype == torch.float64 else input.float()
        mean_C = all_reduce_sum_with_grad(x.sum(dims), self.group) / count
        centred = x - mean_C.view(shape)
        # The variance takes a second pass: a single one cancels where the mean is large.
        var_C = all_reduce_sum_with_grad(centred.square().sum(dims), self.group) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean_C, self.momentum)
            self.running_var.lerp_(var_C * count / (count - 1), self.momentum)
        scale_C = self.weight * (var_C + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(shape), centred, scale_C.view(shape)).to(input.dtype)


class GlobalBatchDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch; this process uses its own rows of it.

    Every process draws as many numbers, and the same, as a single one would: all have the same
    seed at every step.
    """

    def __init__(self, p: float, *, rank: int, world_size: int) -> None:
        super().__init__(p)
        self.rank, self.world_size = rank, world_size

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        ones = input.new_ones((self.world_size * len(input), *input.shape[1:]))
        return input * F.dropout(ones, self.p)[self.rank :: self.world_size]


def all_reduce_sum_with_grad(x: Tensor, group: ProcessGroup) -> Tensor:
    """The sum over all ranks, in the backward pass too.

    Each rank gets the gradient of the sum of all ranks' losses.
    """
    return _AllReduceSum.apply(x, group)  # type: ignore[no-any-return]


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return group.all_reduce_sum(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.group.all_reduce_sum(gradients[0]), None


def _synchronized(module: nn.Module, group: ProcessGroup) -> SyncBatchNorm:
    assert isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None
    synced = SyncBatchNorm(
        module.num_features, eps=module.eps, momentum=module.momentum, group=group
    )
    # The parameters themselves, not copies: an optimiser may hold them already.
    synced.weight, synced.bias = module.weight, module.bias
    synced.running_mean, synced.running_var = module.running_mean, module.running_var
    synced.num_batches_tracked = module.num_batches_tracked
    return synced.train(module.training)
