"""The age of a file by the clock of its file system, for files of machines whose clocks differ."""

import functools
import os
import tempfile
import time
from pathlib import Path


def seconds_since_change(path: Path, *, folder: Path) -> float:
    """The seconds since the file was written, by the clock that dates new files in `folder`, a
    folder of the same file system; by this machine's clock where none can be made there.

    0 where the file is missing.
    """
    try:
        changed_at = path.stat().st_mtime
    except OSError:
        return 0.0
    ahead = _seconds_ahead(folder)
    now = time.time() if ahead is None else _seconds_since_boot() + ahead
    return now - changed_at


@functools.cache  # once per process: whoever watches runs asks every few seconds
def _seconds_ahead(folder: Path) -> float | None:
    """The time that the file system gives to a new file, less the seconds since this machine was
    started, which no change of its clock alters; None where no file can be made.
    """
    try:
        return _time_of_new_file(folder) - _seconds_since_boot()
    except OSError:
        return None


def _time_of_new_file(folder: Path) -> float:
    """A file without a name leaves nothing behind; some file systems have only files with names."""
    try:
        descriptor, name = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600), ""
    except OSError:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix=".clock-")
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        if name:
            Path(name).unlink()


def _seconds_since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
