"""Two real processes on this machine that train together over gloo, as two GPUs would."""

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.train.train_state import CheckpointedTraining

WORLD_SIZE = 2
TIMEOUT = timedelta(seconds=60)


def in_two_processes(work: Callable[[ProcessGroup], Any], folder: Path) -> list[Any]:
    """The results of `work(group)` on each rank, tensors and plain values; both must exit with 0.

    They are forked: torch is imported already, which takes a new interpreter seconds.
    """
    with warnings.catch_warnings():
        # Newer Pythons warn of forks in a process with threads; the children use none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        mp.start_processes(_run_rank, args=(work, folder), nprocs=WORLD_SIZE, start_method="fork")  # type: ignore[attr-defined]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


def _run_rank(rank: int, work: Callable[[ProcessGroup], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    # Curves are written by polars, whose threads do not survive a fork: it would wait for them for
    # ever. Real ranks are started, not forked.
    setattr(CheckpointedTraining, "_publish_curves", lambda _: None)  # noqa: B010
    address = f"file://{folder / 'rendezvous'}"
    dist.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=WORLD_SIZE, timeout=TIMEOUT
    )
    dist.barrier()  # a rank with little work must not exit while the other is still connecting
    try:
        torch.save(work(ProcessGroup(rank=rank, world_size=WORLD_SIZE)), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
