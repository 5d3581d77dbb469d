"""What a stream of clips costs: processor time of this process and all that it started, read while
they run (Linux).
"""

import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

Stream = Callable[[], Generator[int, None, None]]
"""Starts a way of reading; yields how many clips have just come, without end; gives its processes
back when it is closed.
"""

WARM_BATCHES = (
    3  # come before the clock starts: processes have started, and files have been opened once
)


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Clips over a stretch of time."""

    clips_per_cpu_second: float
    clips_per_second: float


def measure_speed(stream: Stream, *, seconds: float) -> Speed:
    """Let the stream run and count for `seconds`. Starting and ending processes is not counted.

    From the arrival of a batch to the arrival of a batch, so that what is under way at the start
    makes up for what is so at the end.
    """
    with closing(stream()) as arriving:
        for _ in range(WARM_BATCHES):
            next(arriving)
        began, cpu_began, clips = time.monotonic(), tree_cpu_seconds(), 0
        while time.monotonic() - began < seconds or not clips:
            clips += next(arriving)
        wall, cpu = time.monotonic() - began, tree_cpu_seconds() - cpu_began
    return Speed(clips_per_cpu_second=clips / max(cpu, 1e-3), clips_per_second=clips / wall)


def tree_cpu_seconds() -> float:
    """Processor time of this process, its living descendants, and those that they have seen end.

    getrusage counts children only once they have ended, and those of a helper process not at all.
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
    total, waiting = 0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += ticks_of.get(pid, 0)
        waiting += children_of.get(pid, [])
    return total / os.sysconf("SC_CLK_TCK")
