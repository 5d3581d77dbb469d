"""Two real processes that train together over gloo, and what they bring back."""

import socket
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from kdbatch.run.team import Place, formed

WORLD_SIZE = 2
TIMEOUT = timedelta(seconds=60)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return door.getsockname()[1]


def in_two(act: Callable[..., Any], *args: Any, folder: Path) -> list[Any]:
    """What `act(team, *args)` returns, tensors and plain values, in each of two processes; both must end well.

    They are forked: torch is imported already, which takes a new interpreter seconds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons dislike forks beside threads; these use none of theirs
        mp.start_processes(_one, args=(free_port(), act, args, folder), nprocs=WORLD_SIZE, start_method="fork")  # type: ignore[attr-defined]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


def _one(rank: int, port: int, act: Callable[..., Any], args: tuple[Any, ...], folder: Path) -> None:
    torch.set_num_threads(1)
    place = Place(rank=rank, world_size=WORLD_SIZE, local_rank=rank, host="127.0.0.1", port=port)
    with formed(place, torch.device("cpu"), timeout=TIMEOUT) as team:
        torch.save(act(team, *args), folder / f"{rank}.pt")
