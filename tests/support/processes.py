"""Two real processes on this machine that train together over gloo, as two GPUs would."""

import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WORLD_SIZE = 2
TIMEOUT = timedelta(seconds=60)


def in_two_processes(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """What `work(rank)` gives, tensors and plain values, in each of them; both must end well.

    They are forked: torch is imported already, which takes a new interpreter seconds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # newer Pythons dislike forks beside threads; these use none of theirs
        mp.start_processes(_one, args=(work, folder), nprocs=WORLD_SIZE, start_method="fork")  # type: ignore[attr-defined]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


def _one(rank: int, work: Callable[[int], Any], folder: Path) -> None:
    torch.set_num_threads(1)
    meet = folder / "meet"
    dist.init_process_group(
        "gloo", init_method=f"file://{meet}", rank=rank, world_size=WORLD_SIZE, timeout=TIMEOUT
    )
    dist.barrier()  # one whose work is short must not part while the other still connects
    try:
        torch.save(work(rank), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
