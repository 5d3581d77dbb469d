"""Plan -> SLURM arrays, as values: which runs share an sbatch, and which runs each waits for."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan, Wave


@dataclass(frozen=True, kw_only=True)
class Array:
    """One sbatch. The run run_ids[i] needs the runs after[i]; each element has so many runs as
    share a job, in their order, and waits for the runs that any of them needs.
    `has_more_memory` is whether it asks for more than kdbatch.toml says.
    """

    wave: str
    resources: Resources
    run_ids: tuple[str, ...]
    after: tuple[tuple[str, ...], ...]
    has_more_memory: bool = False

    @property
    def name(self) -> str:
        """The wave, and a hash of the runs: the name of the array's folder under `runs/slurm/`."""
        return f"{self.wave}-{hashlib.sha256(' '.join(self.run_ids).encode()).hexdigest()[:8]}"

    def part(self, first: int, size: int) -> "Array":
        """An array of `size` elements of this one, from the element `first` on."""
        packed = self.resources.runs_per_job
        chosen = slice(first * packed, (first + size) * packed)
        return replace(self, run_ids=self.run_ids[chosen], after=self.after[chosen])


@dataclass(frozen=True, kw_only=True)
class MetLimit:
    """The limit on the number of jobs that stopped a submit, and the runs that stay planned."""

    name: str
    run_ids: tuple[str, ...]


def arrays_of(
    plan: Plan,
    *,
    config: Config,
    live: Mapping[str, str],
    requests: Mapping[str, Resources] = MappingProxyType({}),
) -> tuple[Array, ...]:
    """The arrays to submit, in order: one for each wave, or more where the site's limit splits it,
    or where `requests` has other resources for some runs than the wave has. `live` are runs (and
    their job ids) that the scheduler already has.

    A run waits for those of its parents that are live or in an earlier array, not for parents that
    are done. Children have their parents' order, so that those whose parents end first may start
    first.
    """
    finished = {p.run.id for p in plan.runs if p.done}
    parents = {p.run.id: p.run.parents for p in plan.runs}
    position: dict[str, int] = {}  # of each run that may be waited for, in the order of submission
    for run_id in live:
        if run_id not in finished:
            position[run_id] = len(position)
    arrays: list[Array] = []
    for wave, members in _steps(plan.waves, parents):
        after: dict[str, tuple[str, ...]] = {}
        for run_id in members:
            if run_id not in live:
                unfinished = [parent for parent in parents[run_id] if parent in position]
                after[run_id] = tuple(sorted(unfinished, key=position.__getitem__))
        waiting = sorted(after, key=lambda run_id: [position[p] for p in after[run_id]])
        for request, alike in _by_request(waiting, requests, usual=wave.resources):
            for run_ids, resources in _split(alike, request, config.site.max_array_size):
                array = Array(
                    wave=wave.name,
                    resources=resources,
                    run_ids=run_ids,
                    after=tuple(after[run_id] for run_id in run_ids),
                    has_more_memory=resources.memory_gb > wave.resources.memory_gb,
                )
                arrays.append(array)
        for run_id in waiting:
            position[run_id] = len(position)
    return tuple(arrays)


def _by_request(
    run_ids: Sequence[str], requests: Mapping[str, Resources], *, usual: Resources
) -> list[tuple[Resources, list[str]]]:
    """The runs with equal resources, those of the first run first."""
    groups: list[tuple[Resources, list[str]]] = []
    for run_id in run_ids:
        resources = requests.get(run_id, usual)
        alike = next((ids for known, ids in groups if known == resources), None)
        if alike is None:
            groups.append((resources, [run_id]))
        else:
            alike.append(run_id)
    return groups


def _steps(
    waves: Sequence[Wave], parents: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Wave, list[str]]]:
    """The runs of each wave that have no parent in it, then those whose parents came before: a
    student may be compared with another one, and no element can wait for one of its own array.
    """
    for wave in waves:
        step: dict[str, int] = {}
        for run_id in wave.run_ids:  # parents come before children
            step[run_id] = 1 + max((step[p] for p in parents[run_id] if p in step), default=-1)
        for number in sorted(set(step.values())):
            yield wave, [run_id for run_id in wave.run_ids if step[run_id] == number]


def _split(
    run_ids: Sequence[str], resources: Resources, max_elements: int
) -> Iterator[tuple[tuple[str, ...], Resources]]:
    """The runs of each array: at most `max_elements` full elements, and a last one of the rest."""
    packed = resources.runs_per_job
    num_full = len(run_ids) // packed * packed
    for first in range(0, num_full, max_elements * packed):
        last = min(num_full, first + max_elements * packed)
        yield tuple(run_ids[first:last]), resources
    if rest := tuple(run_ids[num_full:]):
        yield rest, replace(resources, runs_per_job=len(rest))


def dependency(
    array: Array, jobs: Mapping[str, str], *, shared: Collection[str] = ()
) -> str | tuple[str, ...]:
    """The value of sbatch's --dependency for the array, "" for none. `jobs` has the job id of each
    run that is waited for; `shared` are jobs that several runs share.

    A tuple has one value for each element, where they differ: sbatch takes one for all, with which
    a run would wait for runs that it does not need.

    A job that runs share may fail by another run than the parent, and a parent of one run must not
    keep back the others that share its child's job: then the element waits for the end of the
    jobs, and each run looks at its own parents when it starts.
    """
    packed = array.resources.runs_per_job
    parents_of = [sum(array.after[i : i + packed], ()) for i in range(0, len(array.after), packed)]
    each = tuple(_after(parents, jobs, shared, packed) for parents in parents_of)
    if len(set(each)) == 1:
        return each[0]
    number = each[0].removeprefix("afterok:").partition("_")[0]
    if each == tuple(f"afterok:{number}_{i}" for i in range(len(each))):
        return f"aftercorr:{number}"
    return each


def _after(
    parents: Sequence[str], jobs: Mapping[str, str], shared: Collection[str], packed: int
) -> str:
    numbers = tuple(dict.fromkeys(jobs[parent] for parent in parents))
    if not numbers:
        return ""
    ends = packed > 1 or not set(shared).isdisjoint(numbers)
    return ":".join(("afterany" if ends else "afterok", *numbers))
