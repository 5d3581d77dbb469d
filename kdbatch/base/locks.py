"""`flock`s: who holds a run, and who submits."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from kdbatch.base.errors import UserError


def is_held(path: Path) -> bool:
    """Whether another process holds the lock. Asking takes a free lock for an instant, so ask only
    where there is a doubt.

    A shared lock conflicts with the holder's as well, and NFS gives an exclusive one only to who
    may write.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Inside, we hold the lock; until then, wait for who holds it.

    Raises:
        UserError: the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"{path}: cannot be locked ({error.strerror}). Use a file system with locks; Lustre is mounted with flock"
            ) from error
        yield
