"""Memory shared by several processes, with a first-fit allocator."""

import mmap
import os
import tempfile
import weakref

import numpy as np


class SharedBuffer:
    """`num_bytes` of shared memory. It has no name in any file system, so it is freed with the last
    process that holds it, however that ends.

    Pages take no memory until they are written, and low addresses are allocated first: the buffer
    may be larger than what is ever used of it.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.file = _anonymous_file()
        os.ftruncate(self.file, num_bytes)
        self._map = mmap.mmap(self.file, num_bytes)
        self._allocated: dict[int, int] = {}  # start -> end

    def allocate(self, num_bytes: int) -> tuple[int, np.ndarray] | None:
        """Allocate the lowest free span that is large enough: its start and bytes, or None.

        The span is freed when the array is garbage-collected, together with every array and tensor
        that was made from it.
        """
        start = 0
        for taken, end in sorted(self._allocated.items()):
            if taken - start >= num_bytes:
                break
            start = end
        if start + num_bytes > self.num_bytes:
            return None
        self._allocated[start] = start + num_bytes
        span = np.frombuffer(self._map, np.uint8, num_bytes, start)
        weakref.finalize(span, self._allocated.pop, start).atexit = False
        return start, span

    def close(self) -> None:
        """Close the file descriptor. Arrays that are still in use stay valid."""
        os.close(self.file)


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("kdbatch-clips")
    # Pythons built for old systems lack it. An unlinked file in /dev/shm is the same, except that
    # the size limit of /dev/shm applies.
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        return os.dup(file.fileno())
