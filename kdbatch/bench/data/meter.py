"""Measures the speed of a stream of clips by wall time and CPU time of all processes (Linux)."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Stream = Callable[[], Generator[int, None, None]]
"""Starts an endless generator of the number of clips in each batch that was read. Closing the
generator ends its processes.
"""

WARM_UP_BATCHES = 3  # read before the clock starts, while processes start and files are opened


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Clips per second of CPU time and of wall time."""

    clips_per_cpu_second: float
    clips_per_second: float


def measure_speed(stream: Stream, *, seconds: float) -> Speed:
    """Count the clips of a stream for `seconds`, without starting and ending its processes.

    The time is measured from the arrival of one batch to that of another, so that batches in
    progress at the start make up for those at the end.
    """
    with closing(stream()) as batch_sizes:
        for _ in range(WARM_UP_BATCHES):
            next(batch_sizes)
        start, cpu_start, clips = time.monotonic(), tree_cpu_seconds(), 0
        while time.monotonic() - start < seconds or not clips:
            clips += next(batch_sizes)
        wall, cpu = time.monotonic() - start, tree_cpu_seconds() - cpu_start
    return Speed(clips_per_cpu_second=clips / max(cpu, 1e-3), clips_per_second=clips / wall)


def tree_cpu_seconds() -> float:
    """CPU time of this process, its living descendants, and those that they have waited for.

    getrusage counts children only after they have ended, and children of children not at all.
    """
    ticks_of: dict[int, int] = {}
    children_of: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # ended a moment ago
                continue
            # proc(5): field 4 is the parent; 14 to 17 are user and system time of the process, then
            # of its children that were waited for.
            ticks_of[int(folder.name)] = sum(map(int, fields[11:15]))
            children_of.setdefault(int(fields[1]), []).append(int(folder.name))
    total, pids = 0, [os.getpid()]
    while pids:
        pid = pids.pop()
        total += ticks_of.get(pid, 0)
        pids += children_of.get(pid, [])
    return total / os.sysconf("SC_CLK_TCK")
