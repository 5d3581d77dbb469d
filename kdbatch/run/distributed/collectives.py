"""Rows of a batch that is spread over ranks: all-gather with gradient, and permutation.

Axes: W processes; B rows of this process, the same number in each; N = W * B rows of the batch.
Rank r holds the rows r, r + W, r + 2W, ... of the batch (run/data/batches.py). The functions here
return rows in the batch's order, so that W processes compute what one would.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kdbatch.run.distributed.process_group import ProcessGroup


def all_gather_with_grad(x_B: Tensor, group: ProcessGroup) -> Tensor:
    """The rows of all processes, shape (N, ...), with gradient to the rank that owns each row.

    Let every process r take l_r, the mean of a loss over its own B rows, where each row's loss may
    depend on all N rows. The backward pass then gives process r the gradient of sum_r l_r by its
    rows, and so the parameters' gradients, added up over processes, are those of that sum.
    Data-parallel training divides their sum by W: the result is the gradient of mean_r l_r, the
    mean over all N rows, as one process would compute it on the whole batch. Nothing is to be
    scaled.

    A plain all-gather has no gradient for the rows of others, which in NT-Xent is half of it.
    """
    return x_B if group.world_size == 1 else _AllGather.apply(x_B, group)  # type: ignore[no-any-return]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_B: Tensor, group: ProcessGroup) -> Tensor:
        ctx.world_size = group.world_size
        return group.all_gather(x_B).transpose(0, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient_BW = gradients[0].unflatten(0, (-1, ctx.world_size))
        gradient_B = gradient_BW.new_empty((len(gradient_BW), *gradient_BW.shape[2:]))
        dist.reduce_scatter_tensor(gradient_B, gradient_BW.transpose(0, 1).flatten(0, 1))
        return gradient_B, None


def permute_rows(x_B: Tensor, order_N: Tensor, group: ProcessGroup) -> Tensor:
    """This process's rows of x_N[order_N], without gradient. Each row is sent at most once.

    `permute_rows(permute_rows(x_B, order_N, group), order_N.argsort(), group)` is x_B again.
    `order_N`, the same in every process, lies on the CPU: then the sizes of all messages are known
    without waiting for a GPU.
    """
    rank, world_size = group.rank, group.world_size
    if world_size == 1:
        return x_B[order_N.to(x_B.device, non_blocking=True)]
    source_WB = order_N.view(-1, world_size).T  # row w: the batch rows that rank w is to have
    owner_WB = source_WB % world_size
    is_own_WB = owner_WB == rank
    send_index = source_WB[is_own_WB] // world_size  # first the rows for rank 0, then for rank 1...
    sent = x_B[send_index.to(x_B.device, non_blocking=True)]
    received = torch.empty_like(x_B, memory_format=torch.contiguous_format)
    receive_sizes = owner_WB[rank].bincount(minlength=world_size).tolist()
    send_sizes = is_own_WB.sum(1).tolist()
    dist.all_to_all_single(received, sent.contiguous(), receive_sizes, send_sizes)
    # Rows arrive sorted by owner and are wanted in the order of `order_N`.
    position_B = owner_WB[rank].argsort(stable=True).argsort()
    return received[position_B.to(received.device, non_blocking=True)]
