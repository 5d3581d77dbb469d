"""Temporary folders of a process; those of killed processes are deleted by later ones."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def temporary_folder(kind: str, *, parent: Path | None = None) -> Iterator[Path]:
    """A new folder `kdbatch-KIND-*` inside the `with` block, which only this user can use.

    It is locked as long as this process lives. One that a killed process left is not locked, and
    a later process that makes its first folder of the same kind deletes it.

    Raises:
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_abandoned(parent, kind)
    path = Path(tempfile.mkdtemp(prefix=f"kdbatch-{kind}-", dir=parent))
    folder = os.open(path, _OPEN_FOLDER)
    try:
        # Without locks on this file system, a folder that is left is nobody's to delete.
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(folder)


@cache
def _remove_abandoned(parent: Path, kind: str) -> None:
    with contextlib.suppress(OSError):
        for path in parent.glob(f"kdbatch-{kind}-*"):
            with contextlib.suppress(OSError):  # of another user, or no folder, or just deleted
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    folder = os.open(path, _OPEN_FOLDER)
    try:
        if os.fstat(folder).st_uid != os.geteuid():
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if any(path.iterdir()):  # else it may be so new that it is not locked yet
            shutil.rmtree(path)
    finally:
        os.close(folder)
