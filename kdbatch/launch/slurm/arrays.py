"""Plan -> SLURM arrays, as values: which runs share an sbatch, and which runs each waits for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans import Plan


@dataclass(frozen=True, kw_only=True)
class Array:
    """One sbatch: element i is run_ids[i], and waits for the runs after[i] and for no others."""

    wave: str
    resources: Resources
    run_ids: tuple[str, ...]
    after: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """The wave, and a hash of the runs: the name of the array's folder under `runs/slurm/`."""
        return f"{self.wave}-{hashlib.sha256(' '.join(self.run_ids).encode()).hexdigest()[:8]}"


def arrays_of(plan: Plan, *, config: Config, live: Mapping[str, str]) -> tuple[Array, ...]:
    """The arrays to submit, in order: one for each wave, or more where the site's limit splits it.
    `live` are runs (and their job ids) that the scheduler already has.

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
    for wave in plan.waves:
        after: dict[str, tuple[str, ...]] = {}
        for run_id in wave.run_ids:
            if run_id not in live:
                unfinished = [parent for parent in parents[run_id] if parent in position]
                after[run_id] = tuple(sorted(unfinished, key=position.__getitem__))
        waiting = sorted(after, key=lambda run_id: [position[p] for p in after[run_id]])
        for first in range(0, len(waiting), config.site.max_array_size):
            run_ids = tuple(waiting[first : first + config.site.max_array_size])
            array = Array(
                wave=wave.name,
                resources=wave.resources,
                run_ids=run_ids,
                after=tuple(after[run_id] for run_id in run_ids),
            )
            arrays.append(array)
        for run_id in waiting:
            position[run_id] = len(position)
    return tuple(arrays)


def dependency(array: Array, jobs: Mapping[str, str]) -> str | tuple[str, ...]:
    """The value of sbatch's --dependency for the array, "" for none. `jobs` has the job id of each
    run that is waited for.

    A tuple has one value for each element, where they differ: sbatch takes one for all, with which
    a run would wait for runs that it does not need.
    """
    each = tuple(
        "afterok:" + ":".join(jobs[parent] for parent in parents) if parents else ""
        for parents in array.after
    )
    if len(set(each)) == 1:
        return each[0]
    number = each[0].removeprefix("afterok:").partition("_")[0]
    if each == tuple(f"afterok:{number}_{i}" for i in range(len(each))):
        return f"aftercorr:{number}"
    return each
