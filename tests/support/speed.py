"""Processor time, in units of a fixed piece of work: machines differ, ratios hardly do."""

import gc
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping


def seconds(call: Callable[[], object]) -> float:
    """Processor seconds of one call. Garbage is not collected meanwhile: that takes up to half of
    the time, more or less as the tests before have left objects.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        before = time.process_time()
        call()
        return time.process_time() - before
    finally:
        if was_enabled:
            gc.enable()


def work() -> float:
    """Processor seconds of the piece of work: JSON written and read, half a second or so."""
    return min(seconds(_write_and_read) for _ in range(2))


def in_work(call: Callable[[], object], looks: int = 2) -> float:
    """Processor time of a call in pieces of work.

    A neighbour on the same core makes both slower for a while, by up to two: they take turns, and
    the best of each counts.
    """
    return each_in_work({"": call}, looks)[""]


def each_in_work(calls: Mapping[str, Callable[[], object]], looks: int = 2) -> dict[str, float]:
    """The same of several calls, which share the pieces of work."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    works = []
    for _ in range(looks):
        works.append(seconds(_write_and_read))
        for name, call in calls.items():
            spent[name].append(seconds(call))
    return {name: min(values) / min(works) for name, values in spent.items()}


def in_starts(call: Callable[[], object], looks: int = 5) -> float:
    """Processor time of the programs that a call runs, in starts of a Python that imports fire.

    Seconds would fail on the next slower machine. Both take turns, and the best of each counts.
    """
    spent, starts = [], []
    for _ in range(looks):
        starts.append(seconds_of_children(_start_python))
        spent.append(seconds_of_children(call))
    return min(spent) / min(starts)


def seconds_of_children(call: Callable[[], object]) -> float:
    """Processor seconds of the programs that a call starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _start_python() -> None:
    subprocess.run([sys.executable, "-c", "import fire"], check=True)


def _write_and_read() -> list[object]:
    return [json.loads(json.dumps({"a": [i, str(i)]})) for i in range(100_000)]
