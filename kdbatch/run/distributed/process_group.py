"""The process group of a run: collectives over its ranks, and how each rank's exit is explained.

The number of processes is not part of a run's id, so it must not change a result: gradients, batch
statistics (`sync_layers.py`) and random draws are those of the whole batch, and batches are equal
where they divide evenly (`run/data/batches.py`). Rank 0 alone holds the run's lock and writes its
files; the other ranks exit with its exit code.

One thing does depend on the number: more than two processes normalise the keys of RSPNet and TDL
in more and smaller groups than one or two do (`run/tasks/momentum.py`).

No other module asks torch.distributed which process this is: a ProcessGroup is passed in.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from kdbatch.base.errors import UserError
from kdbatch.base.reading.documents import parse_json
from kdbatch.run.distributed.rank_info import RankInfo

# How long a rank waits for the others. They may be loading data, but a rank that hangs must not
# cost a night.
TIMEOUT = timedelta(minutes=10)
# How long the other ranks wait for the exit reason of rank 0, which saves a checkpoint before it.
EXIT_REASON_TIMEOUT = timedelta(minutes=2)
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes that train one run, as one of them sees them.

    A group of one process (`SINGLE_PROCESS`) communicates with nobody: every method returns what
    it was given. Every rank must call a collective, with tensors of equal shapes where nothing else
    is said.
    """

    rank: int = 0
    world_size: int = 1
    processes_on_node: int = 1
    device: torch.device = _CPU
    store: Store | None = None

    @property
    def is_rank0(self) -> bool:
        return self.rank == 0

    def __deepcopy__(self, memo: object) -> "ProcessGroup":
        """Copies of a network belong to the same processes."""
        return self

    def average_(self, tensors: Sequence[Tensor], numbers_N: Tensor) -> Tensor:
        """Replace each tensor by its mean over all ranks, and return the mean of `numbers_N`.

        One all-reduce for everything.
        """
        if self.world_size == 1:
            return numbers_N
        flat = torch.cat([*(t.reshape(-1) for t in tensors), numbers_N])
        dist.all_reduce(flat)
        sizes = [*(t.numel() for t in tensors), len(numbers_N)]
        *parts, mean_N = (flat / self.world_size).split(sizes)
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))
        return mean_N

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """The sum over all ranks, in the precision of `x`, without gradient."""
        if self.world_size == 1:
            return x
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    def all_reduce_mean(self, x: Tensor) -> Tensor:
        """The mean over all ranks, without gradient."""
        return x if self.world_size == 1 else self.all_reduce_sum(x) / self.world_size

    def all_gather(self, x: Tensor) -> Tensor:
        """The tensors of all ranks, stacked in the order of ranks: shape (W, ...), no gradient."""
        if self.world_size == 1:
            return x.detach()[None]
        x_W = x.new_empty((self.world_size, *x.shape))
        dist.all_gather_into_tensor(x_W, x.detach().contiguous()[None])
        return x_W

    def all_gather_rows(self, x_B: Tensor) -> Tensor:
        """The rows of all ranks on the host, rank 0's first; the number of rows may differ."""
        if self.world_size == 1:
            return x_B
        size_W = self.all_gather(torch.tensor(len(x_B), device=self.device))
        padded = x_B.new_zeros((int(size_W.max()), *x_B.shape[1:]), device=self.device)
        padded[: len(x_B)] = x_B
        all_W = self.all_gather(padded)
        rows = [part[:size] for part, size in zip(all_W, size_W.tolist(), strict=True)]
        return torch.cat(rows).cpu()

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the tensors of every rank with those of rank 0."""
        for tensor in tensors if self.world_size > 1 else ():
            whole = tensor.contiguous()
            dist.broadcast(whole, src=0)
            tensor.copy_(whole)

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """Return rank 0's `data` on every rank; the others' is ignored."""
        if self.world_size == 1:
            return data
        size = torch.full((1,), -1 if data is None else len(data), device=self.device)
        dist.broadcast(size, src=0)
        if int(size) < 0:
            return None
        byte_N = torch.zeros(int(size), dtype=torch.uint8, device=self.device)
        if self.is_rank0 and data:
            byte_N.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(byte_N, src=0)
        return byte_N.cpu().numpy().tobytes()

    def post_exit_reason(self, code: int, text: str) -> None:
        """Store why this process exits with `code`, for the ranks that then miss it."""
        if self.store is not None:
            with suppress(RuntimeError):  # rank 0 has exited, and the store with it
                self.store.set(str(self.rank), json.dumps([code, text]))

    def wait_for_rank0(self) -> None:
        """Wait until rank 0 has posted its exit reason, or is gone."""
        if self.store is not None and not self.is_rank0:
            with suppress(RuntimeError):
                self.store.wait(["0"], EXIT_REASON_TIMEOUT)

    def exit_reason_of_others(self) -> tuple[int, int, str] | None:
        """Rank, exit code and reason of another process that has posted them."""
        for rank in range(self.world_size):
            reason = self._exit_reason(rank) if rank != self.rank else None
            if reason is not None:
                return rank, *reason
        return None

    def _exit_reason(self, rank: int) -> tuple[int, str] | None:
        if self.store is not None:
            with suppress(RuntimeError):
                if self.store.check([str(rank)]):
                    code, text = parse_json(self.store.get(str(rank)), where=f"rank {rank}")
                    return int(code), str(text)
        return None


SINGLE_PROCESS = ProcessGroup()


class RendezvousError(UserError):
    """The processes did not connect: their port is taken, or one came too late.

    Another start may succeed.
    """


@contextmanager
def init_process_group(
    info: RankInfo, device: torch.device, *, timeout: timedelta = TIMEOUT
) -> Iterator[ProcessGroup]:
    """Connect with the other ranks, by gloo on CPUs and NCCL on GPUs; disconnect at the end.

    Raises:
        RendezvousError: the others did not connect in time, or the port is taken.
    """
    if info.world_size == 1:
        yield ProcessGroup(device=device)
        return
    store = _connect(info, device, timeout)
    try:
        yield ProcessGroup(
            rank=info.rank,
            world_size=info.world_size,
            processes_on_node=info.processes_on_node,
            device=device,
            store=PrefixStore("exit reasons", store),
        )
    finally:
        dist.destroy_process_group()


def _connect(info: RankInfo, device: torch.device, timeout: timedelta) -> Store:
    """Initialise torch.distributed; the store that all ranks share."""
    address = f"{info.host}:{info.port}"
    try:
        meeting = rendezvous(f"tcp://{address}", info.rank, info.world_size, timeout=timeout)
        store, _, _ = next(meeting)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=PrefixStore("group", store),
            rank=info.rank,
            world_size=info.world_size,
            timeout=timeout,
            device_id=device if device.type == "cuda" else None,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RendezvousError(
            f"process {info.rank} of {info.world_size}: did not connect with the others at "
            f"{address} ({reason}). Read their logs, or try again."
        ) from error
    return store


def is_lost_rank(error: BaseException) -> bool:
    """Whether another process of the group is missing.

    PyTorch has an error class of its own for that, except in gloo, where the text tells.
    """
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and "gloo" in str(error)
    )
