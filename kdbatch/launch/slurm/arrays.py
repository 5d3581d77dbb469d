"""Plan -> SLURM arrays, as values: which runs share an sbatch, and what each of them waits for.
Nothing is submitted here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import Resources


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
    `live` are runs (and their job ids) that the scheduler has already.

    A parent that is done is not waited for; one that is live or comes earlier here is. Children
    stand in their parents' order, so that those whose parents end first may start first.
    """
    finished = {p.run.id for p in plan.runs if p.done}
    parents = {p.run.id: p.run.parents for p in plan.runs}
    order = {
        run_id: i for i, run_id in enumerate(run_id for run_id in live if run_id not in finished)
    }
    arrays: list[Array] = []
    for wave in plan.waves:
        wanted = [run_id for run_id in wave.run_ids if run_id not in live]
        after = {
            run_id: tuple(sorted((p for p in parents[run_id] if p in order), key=order.__getitem__))
            for run_id in wanted
        }
        waiting = sorted(wanted, key=lambda run_id: [order[p] for p in after[run_id]])
        for first in range(0, len(waiting), config.site.max_array_size):
            run_ids = tuple(waiting[first : first + config.site.max_array_size])
            arrays.append(
                Array(
                    wave=wave.name,
                    resources=wave.resources,
                    run_ids=run_ids,
                    after=tuple(after[r] for r in run_ids),
                )
            )
        order |= {run_id: len(order) + i for i, run_id in enumerate(waiting)}
    return tuple(arrays)


def dependency(array: Array, jobs: Mapping[str, str]) -> str | tuple[str, ...]:
    """sbatch's --dependency, given the job ids of the runs that are waited for; "" where there are
    none. A tuple has one for each element: sbatch takes one for all, which here would have a run
    wait for runs that it does not need.
    """
    each = tuple(
        "afterok:" + ":".join(jobs[parent] for parent in parents) if parents else ""
        for parents in array.after
    )
    if len(set(each)) == 1:
        return each[0]
    number = each[0].removeprefix("afterok:").partition("_")[0]
    return (
        f"aftercorr:{number}"
        if each == tuple(f"afterok:{number}_{i}" for i in range(len(each)))
        else each
    )
