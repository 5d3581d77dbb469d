"""Recognises the errors of a full or read-only disk, a used-up quota, limits, and lost servers."""

import errno
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

FULL_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# A disk or a file server that does not answer as it should: it may do so later, or to another node.
LOST_DISK_ERRORS = frozenset(
    {
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EREMOTEIO,
    }
)
OPEN_FILES_ERRORS = frozenset({errno.EMFILE, errno.ENFILE})


class DiskFullError(OSError):
    """A file could not be written for want of space; its text has what was left at that time."""

    def __init__(self, number: int, path: str) -> None:
        super().__init__(number, os.strerror(number), path)
        self._room = _room_for(number, Path(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}{self._room}"


def disk_full_error(
    error: BaseException, *, path: Path, or_read_only: bool = False
) -> DiskFullError | None:
    """The error as a DiskFullError, where it or what caused it is one of FULL_DISK_ERRORS.

    Libraries written in other languages raise errors of their own, with the system's words in the
    message. `path` is where the error was met, for an error that names no file. `or_read_only`
    counts a read-only file system among them.
    """
    wanted = FULL_DISK_ERRORS | ({errno.EROFS} if or_read_only else set())
    for cause in _causes(error):
        if isinstance(cause, DiskFullError):
            return cause
        number = _number_of(cause, wanted)
        if number:
            name = cause.filename if isinstance(cause, OSError) else None
            return DiskFullError(number, str(name or path))
    return None


def system_error(error: BaseException, numbers: frozenset[int], *, path: Path) -> OSError | None:
    """The error of the file system that an error is, or was caused by, if it is one of `numbers`.

    Errors of the libraries of FFmpeg are none: with the same numbers they mean a damaged video.
    """
    for cause in _causes(error):
        if type(cause).__module__.startswith("av."):
            return None
        number = _number_of(cause, numbers)
        if number:
            name = cause.filename if isinstance(cause, OSError) else None
            return OSError(number, os.strerror(number), str(name or path))
    return None


def open_files_limit() -> int:
    """How many files this process may have open at once."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def no_space_line(path: Path) -> str:
    """The words about a full disk at `path`, where the error itself was lost."""
    return str(DiskFullError(errno.ENOSPC, str(path)))


def remedy_of(line: str) -> str:
    """The first thing to do after an error with these words, before its command is repeated."""
    if os.strerror(errno.EFBIG) in line:
        return "Raise the limit"
    return "Make it writable" if os.strerror(errno.EROFS) in line else "Make room"


def problem_of_disk(folder: Path) -> str:
    """Why no new file can be written to the disk of `folder` now; empty if one can, or if the disk
    does not tell.
    """
    try:
        facts = os.statvfs(folder)
    except OSError as error:
        return error.strerror or str(error)
    if facts.f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    if facts.f_blocks and facts.f_bavail * facts.f_frsize < 1 << 16:
        return os.strerror(errno.ENOSPC)
    if facts.f_files and not facts.f_favail:
        return f"{os.strerror(errno.ENOSPC)}, for no more files"
    return ""


def _room_for(number: int, path: Path) -> str:
    """The room for a file of `path`, which need not exist, in parentheses: ` (1.4 GB free)`."""
    if number == errno.EROFS:
        return ""
    if number == errno.EDQUOT:
        return " (see: quota -s)"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if number == errno.EFBIG and limit != resource.RLIM_INFINITY:
        return f" (ulimit -f allows {_in_words(limit)})"
    try:
        folder = next((f for f in (path, *path.absolute().parents) if f.is_dir()), Path())
        facts = os.statvfs(folder)
    except OSError:
        return ""
    if facts.f_files and not facts.f_favail:
        return " (the disk allows no more files)"
    return f" ({_in_words(facts.f_bavail * facts.f_frsize)} free)"


def _in_words(number: int) -> str:
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


def _number_of(error: BaseException, wanted: frozenset[int]) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in wanted else None
    text = str(error)
    if match := re.search(r"\(os error (\d+)\)", text):  # of a library written in Rust
        return int(match[1]) if int(match[1]) in wanted else None
    words = wanted & (FULL_DISK_ERRORS | {errno.EROFS})
    return next((number for number in words if os.strerror(number) in text), None)
