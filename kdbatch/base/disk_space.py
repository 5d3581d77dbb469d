"""Recognises the errors of a full disk, a used-up quota and a limit of file size."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

FULL_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFullError(OSError):
    """A file could not be written for want of space. `free` is what the disk had left, in words."""

    def __init__(self, number: int, path: str) -> None:
        super().__init__(number, os.strerror(number), path)
        self.free = free_space(Path(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror} ({self.free} free)"


def disk_full_error(error: BaseException, *, path: Path) -> DiskFullError | None:
    """The error as a DiskFullError, where it or what caused it is one of FULL_DISK_ERRORS.

    Libraries written in other languages raise errors of their own, with the system's words in the
    message. `path` is where the error was met, for an error that names no file.
    """
    for cause in _causes(error):
        if isinstance(cause, DiskFullError):
            return cause
        number = _number_of(cause)
        if number:
            name = cause.filename if isinstance(cause, OSError) else None
            return DiskFullError(number, str(name or path))
    return None


def no_space_line(path: Path) -> str:
    """The words about a full disk at `path`, where the error itself was lost."""
    return str(DiskFullError(errno.ENOSPC, str(path)))


def free_space(path: Path) -> str:
    """The free space of the disk of `path`, which need not exist, in words: `1.4 GB`, `0 bytes`."""
    folder = next((f for f in (path, *path.absolute().parents) if f.is_dir()), Path())
    number = shutil.disk_usage(folder).free
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and the errors in whose handling it was raised, the last first."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _number_of(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in FULL_DISK_ERRORS else None
    text = str(error)
    return next((number for number in FULL_DISK_ERRORS if os.strerror(number) in text), None)
