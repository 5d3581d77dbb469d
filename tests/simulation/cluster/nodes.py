"""The nodes of the simulated cluster: jobs start in the holes that others leave, are preempted,
reach their time limits, and lose their nodes.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from simulation.cluster.clock import Clock
from simulation.cluster.queue import Element, Process, Queue

HOUR, DAY = 3600.0, 86400.0
CYCLE_SECONDS = 60.0  # between two rounds of the scheduler
REPAIR_SECONDS = 4 * HOUR


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """A large site. A node is free for `free_hours` on average before others take it; of these
    holes a `preempting_share` end without a notice, and whatever runs there is preempted. squeue
    answers from a copy that is `copy_seconds` old at most.
    """

    num_nodes: int = 300
    gpus_per_node: int = 4
    max_array_size: int = 1001
    max_submit_jobs: int = 1000
    failures_per_day: float = 0.02
    free_hours: float = 12.0
    taken_hours: float = 2.0
    preempting_share: float = 0.3
    busy_share: float = 0.02
    copy_seconds: float = 60.0


@dataclass(kw_only=True)
class Node:
    """A node, the elements that run on it, and the time at which others take it, if announced."""

    name: str
    num_free: int
    is_taken: bool = False
    is_down: bool = False
    taken_at: float = float("inf")
    running: dict[str, Element] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return not self.is_taken and not self.is_down


StartProcess = Callable[[Element, str, float], tuple[Process, float]]


class Nodes:
    """Starts the elements of a queue. `start_process` gets an element, its node's name and the end
    of its time limit, and returns its process with the seconds that its work takes.
    """

    def __init__(
        self, facts: SiteFacts, clock: Clock, rng: random.Random, start_process: StartProcess
    ) -> None:
        self._facts, self._clock, self._rng = facts, clock, rng
        self._start_process = start_process
        self.queue = Queue(clock, self._on_ready)
        self._ready: dict[int, deque[Element]] = {}
        self.lost, self.preempted, self.warned = 0, 0, 0
        self.nodes = [
            Node(name=f"node{i:03d}", num_free=facts.gpus_per_node) for i in range(facts.num_nodes)
        ]
        for node in self.nodes:
            self._open(node)
            clock.at(clock.now + self._draw(DAY / facts.failures_per_day), self._failure(node))
        clock.at(clock.now + CYCLE_SECONDS, self._schedule)

    def _draw(self, mean: float) -> float:
        return self._rng.expovariate(1 / mean)

    def _on_ready(self, element: Element) -> None:
        self._ready.setdefault(element.job.seconds, deque()).append(element)

    def _open(self, node: Node) -> None:
        """Let our jobs use a node until others take it."""
        until = self._clock.now + self._draw(self._facts.free_hours * HOUR)
        is_announced = self._rng.random() > self._facts.preempting_share
        node.is_taken, node.taken_at = False, until if is_announced else float("inf")
        self._clock.at(until, lambda: self._take(node))

    def _take(self, node: Node) -> None:
        """Others take the node: what runs there saves its progress and is queued again."""
        node.is_taken = True
        for element in list(node.running.values()):
            process = self._leave(element, node)
            process.may_start_again(process.stop(early=False))
            self.queue.requeue(element, "PREEMPTED")
            self.preempted += 1
        self._clock.at(
            self._clock.now + self._draw(self._facts.taken_hours * HOUR), lambda: self._open(node)
        )

    def _failure(self, node: Node) -> Callable[[], None]:
        def fail() -> None:
            """SLURM queues again what ran on a node that is lost; nobody writes how it ended."""
            for element in list(node.running.values()):
                self._leave(element, node).vanish()
                self.queue.requeue(element, "NODE_FAIL")
                self.lost += 1
            node.is_down = True
            now = self._clock.now
            self._clock.at(now + REPAIR_SECONDS, lambda: self._repair(node))
            self._clock.at(now + self._draw(DAY / self._facts.failures_per_day), fail)

        return fail

    def _repair(self, node: Node) -> None:
        node.is_down = False

    def _schedule(self) -> None:
        """Start what fits, first come first served; shorter jobs fit into more holes."""
        self._clock.at(self._clock.now + CYCLE_SECONDS, self._schedule)
        for node in self.nodes:
            if not any(self._ready.values()):
                return
            while node.is_ours and node.num_free and (element := self._next_for(node)):
                self._start(element, node)

    def _next_for(self, node: Node) -> Element | None:
        room = node.taken_at - self._clock.now
        for seconds in sorted(self._ready, reverse=True):
            waiting = self._ready[seconds]
            for _ in range(len(waiting) if seconds <= room else 0):
                element = waiting.popleft()
                if not element.is_ready:
                    continue  # cancelled, or not ready any more
                if element.job.num_running < element.job.most_at_once:
                    return element
                waiting.append(element)
        return None

    def _start(self, element: Element, node: Node) -> None:
        job, now = element.job, self._clock.now
        element.state, element.start, element.node = "RUNNING", element.start + 1, node.name
        node.running[element.id] = element
        node.num_free -= 1
        job.num_running += 1
        with self._clock.on(node.name):
            element.process, takes = self._start_process(element, node.name, now + job.seconds)
        warned_after = job.seconds - job.warning_seconds - self._rng.uniform(0, 60)
        start, is_warned = element.start, takes > warned_after
        self._clock.at(
            now + min(takes, warned_after),
            lambda: self._end_of(element, node, start, is_warned=is_warned),
        )

    def _end_of(self, element: Element, node: Node, start: int, *, is_warned: bool) -> None:
        """The end of a start, unless it was ended before."""
        if element.start != start or element.id not in node.running:
            return
        process = self._leave(element, node)
        with self._clock.on(node.name):
            code = process.stop(early=True) if is_warned else process.finish()
            again = code != 0 and process.may_start_again(code)
        self.warned += is_warned
        if again:
            self.queue.requeue(element, "REQUEUED")
        else:
            self.queue.end(element, "FAILED" if code else "COMPLETED")

    def _leave(self, element: Element, node: Node) -> Process:
        del node.running[element.id]
        node.num_free += 1
        element.job.num_running -= 1
        process, element.process = element.process, None
        assert process is not None
        return process

    def cancel(self, element: Element) -> None:
        """scancel: a run that has started saves its progress."""
        for node in self.nodes:
            if element.id in node.running:
                process = self._leave(element, node)
                process.may_start_again(process.stop(early=False))
        self.queue.end(element, "CANCELLED")
