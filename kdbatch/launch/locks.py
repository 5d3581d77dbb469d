"""`flock`s: who holds a run, and who submits."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


def is_held(path: Path) -> bool:
    """Whether another process holds the lock. Asking takes a free lock for an instant, so ask only where there is a doubt."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Inside, we hold the lock; until then, wait for who holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
