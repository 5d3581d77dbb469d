"""A simulated SLURM: its jobs, their dependencies, and the accounting."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from simulation.cluster.clock import Clock

MIN_JOB_AGE = 300.0  # seconds for which an ended job is known to the controller


class Process(Protocol):
    """The worker of an element, with its job's script around it."""

    def stop(self, *, early: bool) -> int:
        """Ask it to save and end, with a signal ahead of the time limit (`early`) or with SIGTERM;
        returns its exit code.
        """
        ...

    def finish(self) -> int:
        """Let it come to the end of its work; returns its exit code."""
        ...

    def vanish(self) -> None:
        """End it with its node: it writes nothing any more."""
        ...

    def may_start_again(self, code: int) -> bool:
        """Note the exit code as the job's script does; whether the script requeues its job."""
        ...


@dataclass(kw_only=True)
class Job:
    """One sbatch. `options` are those of its script."""

    number: str
    options: Mapping[str, str]
    folder: Path
    num_running: int = 0

    @property
    def seconds(self) -> int:
        return 60 * int(self.options["time"])

    @property
    def warning_seconds(self) -> int:
        return int(self.options["signal"].partition("@")[2])

    @property
    def most_at_once(self) -> int:
        return int((self.options.get("array", "") + "%1000000").split("%")[1])


@dataclass(kw_only=True)
class Element:
    """An element of an array. `start` counts its starts, also those that were ended."""

    id: str
    job: Job
    state: str = "PENDING"
    node: str = ""
    is_held: bool = True
    restart: int = 0
    start: int = 0
    waits_for: set[str] = field(default_factory=set)
    process: Process | None = None
    ended_at: float = 0.0
    states: list[str] = field(default_factory=list)  # of the starts that have ended

    @property
    def is_live(self) -> bool:
        return self.state in ("PENDING", "RUNNING")

    @property
    def is_ready(self) -> bool:
        return self.state == "PENDING" and not self.is_held and not self.waits_for

    @property
    def reason(self) -> str:
        if self.state == "RUNNING":
            return "None"
        if self.is_held:
            return "JobHeldUser"
        return "Dependency" if self.waits_for else "Priority"


class Queue:
    """All elements by id. `on_ready` is told of each that may start."""

    def __init__(self, clock: Clock, on_ready: Callable[[Element], None]) -> None:
        self._clock, self._on_ready = clock, on_ready
        self.elements: dict[str, Element] = {}
        self.live: dict[str, Element] = {}
        self._children: dict[str, list[Element]] = defaultdict(list)
        self._last_number = 40

    def add(self, script: Path) -> str:
        """Take a job script; returns the job's number."""
        options = script_options(script)
        self._last_number += 1
        job = Job(number=str(self._last_number), options=options, folder=script.parent)
        size = array_size(options)
        ids = [f"{job.number}_{i}" for i in range(size)] if size else [job.number]
        for element_id in ids:
            element = Element(id=element_id, job=job, is_held="hold" in options)
            self.elements[element_id] = self.live[element_id] = element
            if after := options.get("dependency"):
                self.wait(element, after)
        return job.number

    def named(self, word: str) -> Iterator[Element]:
        """The live elements of a job's number, or the one of an id."""
        if word in self.live:
            yield self.live[word]
            return
        yield from [e for e in self.live.values() if e.job.number == word]

    def wait(self, element: Element, after: str) -> None:
        """Set a dependency: afterok:ID:ID or aftercorr:NUMBER. Jobs that are not known any more
        count as ended well, as in SLURM.
        """
        kind, _, ids = after.partition(":")
        parents = ids.split(":")
        if kind == "aftercorr":
            parents = [f"{ids}_{element.id.partition('_')[2]}"]
        assert kind in ("afterok", "aftercorr"), after
        element.waits_for = set()
        for parent in parents:
            if parent in self.live:
                element.waits_for.add(parent)
                self._children[parent].append(element)
            elif (known := self.elements.get(parent)) and self._is_known_to_have_failed(known):
                self.end(element, "CANCELLED")

    def _is_known_to_have_failed(self, element: Element) -> bool:
        is_known = self._clock.now - element.ended_at < MIN_JOB_AGE
        return is_known and element.state != "COMPLETED"

    def release(self, element: Element) -> None:
        """Take the hold from it."""
        element.is_held = False
        if element.is_ready:
            self._on_ready(element)

    def requeue(self, element: Element, state: str) -> None:
        """Put a job that ran back into the queue; `state` is that of its start in sacct."""
        element.states.append(state)
        element.state, element.restart = "PENDING", element.restart + 1
        self._on_ready(element)

    def end(self, element: Element, state: str) -> None:
        """End a job for good, and with it those that cannot start any more."""
        element.states.append(state)
        element.state, element.ended_at, element.process = state, self._clock.now, None
        self.live.pop(element.id, None)
        for child in self._children.pop(element.id, ()):
            if not child.is_live or element.id not in child.waits_for:
                continue
            child.waits_for.discard(element.id)
            if state != "COMPLETED":
                self.end(child, "CANCELLED")
            elif child.is_ready:
                self._on_ready(child)


def script_options(script: Path) -> dict[str, str]:
    """The options in the lines #SBATCH of a job script."""
    lines = re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script.read_text(), re.MULTILINE)
    return dict(lines)


def array_size(options: Mapping[str, str]) -> int:
    """The number of elements; 0 for a job without an array."""
    found = re.match(r"0-(\d+)", options.get("array", ""))
    return int(found[1]) + 1 if found else 0
