"""A small file system in memory, which a test can fill; making one takes root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAD = "pad.bin"


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Path]:
    """Mount a file system of `size` bytes (4k, 3m) on a folder, for this user alone; skip the test
    where that is not allowed.
    """
    folder.mkdir(exist_ok=True)
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder))
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(folder: Path, *, leave: int = 0) -> None:
    """Fill the file system but for `leave` bytes, with the file PAD."""
    with (folder / PAD).open("ab", buffering=0) as file:
        free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
        file.write(bytes(max(0, free - leave)))
