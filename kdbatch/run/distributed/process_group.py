"""Processes that train one run together (torch.distributed, env://): who leads, and what they tell
each other.

The number of processes is not part of a run's id, so it must not change a result: gradients, batch
statistics (`sync_layers.py`) and random draws are those of the whole batch, and batches are equal
where they divide evenly (`run/data/batches.py`). Rank 0 alone holds the run's lock and writes
its files; the other ranks exit with its code.

One thing does depend on it: more than two processes normalise the keys of RSPNet and TDL in more
and smaller groups than one or two do (run/tasks/momentum.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from kdbatch.base.errors import UserError

TIMEOUT = timedelta(
    minutes=10
    # of a wait for the others: they may load data meanwhile, but one that hangs must not cost a night
)
EXIT_REASON_TIMEOUT = timedelta(
    minutes=2
)  # of a wait for the leader's last word, before which it saves
_EXIT_REASON = "last word"
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class RankInfo:
    """Where a process stands among those that train together, and where they meet.

    `local_rank` counts on its own node, where `processes_here` share the cores that this process
    sees: under torchrun all do, while SLURM gives each task its own.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    processes_on_node: int = 1
    host: str = ""
    port: int = 0


def rank_info(environ: Mapping[str, str]) -> RankInfo:
    """The place that torchrun or srun gave this process; alone where neither did.

    RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT come first. Else a SLURM step of
    several tasks: its tasks are the processes. (SLURM_NTASKS would not do: it is set for the shell
    of an allocation too, in which nobody else starts.)

    Raises:
        UserError: something is missing, or no number, or ranks do not fit.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "WORLD_SIZE" not in environ and int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
    elif environ.get("WORLD_SIZE", "1") == "1":
        return RankInfo()
    rank, world_size, local_rank = (_number(environ, name) for name in names)
    if not 0 <= rank < world_size:
        raise UserError(
            f"{names[0]}={rank}: no such process of {names[1]}={world_size}. Ranks count from 0."
        )
    host, port = environ.get("MASTER_ADDR", ""), environ.get("MASTER_PORT", "")
    if names[0] == "SLURM_PROCID":
        host = host or ("127.0.0.1" if environ.get("SLURM_STEP_NUM_NODES", "1") == "1" else "")
        # Two jobs of one node must not meet; ports below 32768 are not given out to clients.
        port = port or str(10000 + _number(environ, "SLURM_JOB_ID") % 20000)
    if not host or not port:
        raise UserError(
            f"{world_size} processes, but MASTER_ADDR or MASTER_PORT is not set: they cannot find each other. "
            "Start them with torchrun, or export both: the first node's name and a free port."
        )
    return RankInfo(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        processes_on_node=_number(environ, "LOCAL_WORLD_SIZE")
        if "LOCAL_WORLD_SIZE" in environ
        else 1,
        host=host,
        port=_number({"MASTER_PORT": port}, "MASTER_PORT"),
    )


def _number(environ: Mapping[str, str], name: str) -> int:
    if not environ.get(name, "").isdigit():
        raise UserError(
            f"{name}: expected a number, found {environ.get(name, 'nothing')!r}. Start the processes with torchrun or srun."
        )
    return int(environ[name])


@dataclass(frozen=True, kw_only=True)
class ProcessGroup:
    """The processes of one run as seen by one of them. A process alone is a team of one, and talks
    to nobody.
    """

    rank: int = 0
    world_size: int = 1
    processes_on_node: int = 1
    device: torch.device = _CPU
    store: Store | None = None

    @property
    def is_rank0(self) -> bool:
        return self.rank == 0

    def average_(self, tensors: Sequence[Tensor], numbers_N: Tensor) -> Tensor:
        """Replace each tensor by its mean over all processes, and return the mean of `numbers_N`:
        one all-reduce for everything.
        """
        if self.world_size == 1:
            return numbers_N
        flat = torch.cat([*(t.reshape(-1) for t in tensors), numbers_N])
        dist.all_reduce(flat)
        *parts, mean_N = (flat / self.world_size).split(
            [*(t.numel() for t in tensors), len(numbers_N)]
        )
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))
        return mean_N

    def all_reduce_sum(self, x: Tensor) -> Tensor:
        """The sum over all processes, in the precision of `x`."""
        if self.world_size == 1:
            return x
        whole = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(whole)
        return whole

    @torch.no_grad()
    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Give everyone the leader's tensors."""
        for tensor in tensors if self.world_size > 1 else ():
            whole = tensor.contiguous()
            dist.broadcast(whole, src=0)
            tensor.copy_(whole)

    def broadcast_bytes(self, data: bytes | None) -> bytes | None:
        """What the leader passes, whatever the others do."""
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

    def all_gather_rows(self, x_B: Tensor) -> Tensor:
        """The rows of all processes on the host, those of rank 0 first; each may have another
        number of them.
        """
        if self.world_size == 1:
            return x_B
        sizes = torch.zeros(self.world_size, dtype=torch.long, device=self.device)
        dist.all_gather_into_tensor(sizes, torch.full((1,), len(x_B), device=self.device))
        room = x_B.new_zeros((int(sizes.max()), *x_B.shape[1:]), device=self.device)
        room[: len(x_B)] = x_B
        all_WB = torch.empty((self.world_size, *room.shape), dtype=room.dtype, device=self.device)
        dist.all_gather_into_tensor(all_WB.flatten(0, 1), room)
        return torch.cat(
            [part[:size] for part, size in zip(all_WB, sizes.tolist(), strict=True)]
        ).cpu()

    def post_exit_reason(self, code: int, text: str) -> None:
        """Say why this process ends with `code`; whoever then misses it can tell."""
        if self.store is not None:
            with suppress(RuntimeError):  # the leader is gone, and the store with it
                self.store.set(f"{_EXIT_REASON} {self.rank}", json.dumps([code, text]))

    def wait_for_rank0(self) -> None:
        """Wait until the leader has left its word, or is gone."""
        if self.store is not None and not self.is_rank0:
            with suppress(RuntimeError):
                self.store.wait([f"{_EXIT_REASON} 0"], EXIT_REASON_TIMEOUT)

    def exit_reason_of_others(self) -> tuple[int, int, str] | None:
        """Rank, code and words of another process that has ended by itself."""
        if self.store is not None:
            for rank in range(self.world_size):
                with suppress(RuntimeError):
                    if rank != self.rank and self.store.check([f"{_EXIT_REASON} {rank}"]):
                        code, text = json.loads(self.store.get(f"{_EXIT_REASON} {rank}"))
                        return rank, int(code), str(text)
        return None


SINGLE_PROCESS = ProcessGroup()


class RendezvousError(UserError):
    """The processes did not come together: their port is taken, or one of them came too late. The
    next start may do better.
    """


@contextmanager
def init_process_group(
    info: RankInfo, device: torch.device, *, timeout: timedelta = TIMEOUT
) -> Iterator[ProcessGroup]:
    """Meet the others, by gloo on CPUs and NCCL on GPUs, and part when done.

    Raises:
        Unmet: they did not come in time, or the port is taken.
    """
    if info.world_size == 1:
        yield ProcessGroup(device=device)
        return
    where = f"process {info.rank} of {info.world_size}"
    try:
        store, _, _ = next(
            rendezvous(
                f"tcp://{info.host}:{info.port}", info.rank, info.world_size, timeout=timeout
            )
        )
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
            f"{where}: did not meet the others at {info.host}:{info.port} ({reason}). See what they say, or try again."
        ) from error
    try:
        words = PrefixStore("words", store)
        yield ProcessGroup(
            rank=info.rank,
            world_size=info.world_size,
            processes_on_node=info.processes_on_node,
            device=device,
            store=words,
        )
    finally:
        dist.destroy_process_group()


def is_lost_peer(error: BaseException) -> bool:
    """Whether another process of the team is missing: PyTorch says so by a class of its own, or in
    gloo's words.
    """
    return isinstance(error, dist.DistError) or (
        type(error) is RuntimeError and "gloo" in str(error)
    )
