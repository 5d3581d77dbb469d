"""Lists the local queues that are alive, and the runs that each of them will still start.

A queue has a file in `runs/queues/` and holds a lock next to it for as long as its process lives.
A queue that was killed therefore does not count, whatever it left behind.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import paths_in
from kdbatch.base.locks import hold_lock, is_held
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count


@dataclass(frozen=True, kw_only=True)
class LiveQueue:
    """A local queue whose process is alive; `waiting` are the ids of the runs to be started."""

    host: str
    pid: Count
    waiting: tuple[str, ...] = ()


@contextlib.contextmanager
def announce_queue(runs_dir: Path) -> Iterator[Callable[[Collection[str]], None]]:
    """Count as a live queue inside the `with` block; yields a function that publishes which runs
    wait.

    Raises:
        UserError: the file system has no locks.
    """
    host, pid = socket.gethostname(), os.getpid()
    path = _folder(runs_dir) / f"{host}.{pid}.{time.time_ns()}.json"
    published: tuple[str, ...] | None = None

    def publish(waiting: Collection[str]) -> None:
        nonlocal published
        if published == (now := tuple(waiting)):
            return
        # A full disk must not end the queue: readers then see the runs that waited before.
        with contextlib.suppress(OSError):
            write_json(path, asdict(LiveQueue(host=host, pid=pid, waiting=now)))
            published = now

    with hold_lock(_lock_of(path)):
        _remove_dead(runs_dir)
        try:
            publish(())
            yield publish
        finally:
            _remove(path)


def live_queues(runs_dir: Path) -> tuple[LiveQueue, ...]:
    """The queues that are alive, on any machine that shares the folder.

    Raises:
        UnreadableError: the folder of the queues cannot be read.
    """
    queues = []
    for path in paths_in(_folder(runs_dir), ".json"):
        if is_held(_lock_of(path)):
            try:
                queues.append(parse(LiveQueue, load_json(path), where=str(path)))
            except UnreadableError:
                raise
            except UserError:  # it ends at this moment
                continue
    return tuple(queues)


def _folder(runs_dir: Path) -> Path:
    return runs_dir / "queues"


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


def _remove_dead(runs_dir: Path) -> None:
    """Remove what killed queues left. A queue writes its file after it has its lock."""
    for path in paths_in(_folder(runs_dir), ".json"):
        if not is_held(_lock_of(path)):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        _lock_of(path).unlink(missing_ok=True)
