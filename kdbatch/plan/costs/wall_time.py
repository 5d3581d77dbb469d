"""The time that a plan takes from its first run to its last."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from kdbatch.vocab.plans.plan import PlannedRun


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The longest chain of runs that wait for each other, first to last, and its hours."""

    runs: tuple[PlannedRun, ...]
    hours: float


def longest_chain(runs: Sequence[PlannedRun]) -> Chain:
    """The critical path of the runs that are not done: no number of devices makes a plan shorter.

    `runs` has parents before children.
    """
    ends: dict[str, tuple[float, tuple[PlannedRun, ...]]] = {}
    for planned in _to_do(runs):
        parents = [ends[parent] for parent in planned.run.parents if parent in ends]
        hours, chain = max(parents, key=lambda end: end[0], default=(0.0, ()))
        ends[planned.run.id] = (hours + planned.hours, (*chain, planned))
    hours, chain = max(ends.values(), key=lambda end: end[0], default=(0.0, ()))
    return Chain(runs=chain, hours=hours)


def hours_with(runs: Sequence[PlannedRun], *, num_at_once: int) -> float:
    """The time until the last run ends, with at most `num_at_once` of them at a time.

    Whenever one may start, the longest that waits for nothing starts, as in the local queue.
    """
    to_do = {planned.run.id: planned for planned in _to_do(runs)}
    children: dict[str, list[PlannedRun]] = {run_id: [] for run_id in to_do}
    num_parents: dict[str, int] = {}
    for planned in to_do.values():
        parents = {parent for parent in planned.run.parents if parent in to_do}
        num_parents[planned.run.id] = len(parents)
        for parent in parents:
            children[parent].append(planned)
    ready = [(-p.hours, run_id) for run_id, p in to_do.items() if not num_parents[run_id]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < num_at_once:
            _, run_id = heapq.heappop(ready)
            heapq.heappush(running, (now + to_do[run_id].hours, run_id))
        now, ended = heapq.heappop(running)
        for child in children[ended]:
            num_parents[child.run.id] -= 1
            if not num_parents[child.run.id]:
                heapq.heappush(ready, (-child.hours, child.run.id))
    return now


def _to_do(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    return [planned for planned in runs if not planned.done]
