"""File locks (`flock`): of runs while they execute, and of submissions."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.reading.regular_files import open_regular


def is_held(path: Path) -> bool:
    """Whether another process holds the lock.

    The test takes a free lock for an instant, so a process that tries to take it then may fail. It
    takes a shared lock, which conflicts with the holder's exclusive one: NFS gives exclusive locks
    only to files that are open for writing.

    Raises:
        UnreadableError: the file cannot be opened.
    """
    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise unreadable(path, error) from error


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock inside the `with` block; wait for it first.

    Raises:
        UserError: the file system has no locks.
    """
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextlib.contextmanager
def hold_lock_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock inside the `with` block if it is free; yields whether it was.

    Raises:
        UserError: the file system has no locks.
    """
    with _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_held_here:
        yield is_held_here


@contextlib.contextmanager
def _locked(path: Path, operation: int) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        is_free = True
        try:
            fcntl.flock(file, operation)
        except BlockingIOError:
            is_free = False
        except OSError as error:
            raise UserError(
                f"{path}: cannot be locked ({error.strerror}). "
                "Use a file system with locks; Lustre needs the mount option flock"
            ) from error
        yield is_free
