"""Rows of tensors between the processes that train together; a process alone is a world of one.

Axes: W processes; B rows of this process, the same number in each; N = W * B rows of all. Rank r
holds the rows r, r + W, r + 2W, ... of the batch (kdbatch/run/data/batches.py), and rows come in
the batch's order here, so that W processes do what one would.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process, and how many train together."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def all_gather_with_grad(x_B: Tensor) -> Tensor:
    """The rows of all processes, shape (N, ...), through which the gradient flows back to the
    process that each row came from.

    Let every process r take l_r, the mean of a loss over its own B rows, where each row's loss may
    depend on all N rows. The backward pass then gives process r the gradient by its rows of the sum
    of l_r over all processes, and so the parameters' gradients, added up over processes, are those
    of that sum. Data-parallel training divides their sum by world_size: what is left is the
    gradient of mean_r l_r, the mean over all N rows, as one process would compute it on the whole
    batch. Nothing is to be scaled.

    A plain all-gather has no gradient for the rows of others, which in NT-Xent is half of it.
    """
    return _AllGather.apply(x_B) if dist.is_initialized() else x_B  # type: ignore[no-any-return]


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_B: Tensor) -> Tensor:
        _, world_size = rank_and_world_size()
        x_N = x_B.new_empty((world_size * len(x_B), *x_B.shape[1:]))
        dist.all_gather_into_tensor(x_N, x_B.contiguous())
        return x_N.unflatten(0, (world_size, -1)).transpose(0, 1).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        _, world_size = rank_and_world_size()
        gradient_N = gradients[0].unflatten(0, (-1, world_size)).transpose(0, 1).flatten(0, 1)
        gradient_B = gradient_N.new_empty((len(gradient_N) // world_size, *gradient_N.shape[1:]))
        dist.reduce_scatter_tensor(gradient_B, gradient_N.contiguous())
        return gradient_B


def permute_rows(x_B: Tensor, order_N: Tensor) -> Tensor:
    """This process's rows of x_N[order_N], without gradient. Each row travels at most once, to
    where it is wanted.

    `reordered(reordered(x_B, order_N), order_N.argsort())` is x_B again. `order_N`, the same in
    every process, lies on the CPU: so what goes where is known without waiting for a GPU.
    """
    rank, world_size = rank_and_world_size()
    if world_size == 1:
        return x_B[order_N.to(x_B.device, non_blocking=True)]
    source_WB = order_N.view(
        -1, world_size
    ).T  # row w: the rows of the batch that process w wants, in its order
    owner_WB = source_WB % world_size
    mine_WB = owner_WB == rank
    sent = x_B[
        (source_WB[mine_WB] // world_size).to(x_B.device, non_blocking=True)
    ]  # for process 0, then for process 1, ...
    got = torch.empty_like(x_B, memory_format=torch.contiguous_format)
    num_got = owner_WB[rank].bincount(minlength=world_size)
    dist.all_to_all_single(got, sent.contiguous(), num_got.tolist(), mine_WB.sum(1).tolist())
    place_B = (
        owner_WB[rank].argsort(stable=True).argsort()
    )  # came by owner; wanted in the order of `order_N`
    return got[place_B.to(got.device, non_blocking=True)]
