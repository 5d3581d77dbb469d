"""Plan -> SLURM arrays, as values: which runs share an sbatch, and what each of them waits for. Nothing is submitted here."""

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan, Wave
from kdbatch.vocab.runs import Resources

Place = tuple[str, int | None]
"""Where a run is queued: the array's name, or a job id's number, and its element; None for a job that is no array."""


@dataclass(frozen=True, kw_only=True)
class Array:
    """One sbatch: element i is run_ids[i]. SLURM takes one dependency expression per array, so its runs wait for the same things.

    after: every element waits for all of these runs. each_after: element i waits for run i of these, which are elements 0, 1, ... of
    one array. At most one of the two is set; neither: nothing to wait for.
    """

    wave: str
    resources: Resources
    run_ids: tuple[str, ...]
    after: tuple[str, ...] = ()
    each_after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The wave, and a hash of the runs: the name of the array's folder under `runs/slurm/`."""
        return f"{self.wave}-{hashlib.sha256(' '.join(self.run_ids).encode()).hexdigest()[:8]}"


def arrays_of(plan: Plan, *, config: Config, live: Mapping[str, str]) -> tuple[Array, ...]:
    """The arrays to submit, in order. `live` are runs (and their job ids) that the scheduler has already.

    A parent that is done is not waited for; one that is live or comes earlier here is.
    """
    finished = {p.run.id for p in plan.runs if p.done}
    parents = {p.run.id: tuple(parent for parent in p.run.parents if parent not in finished) for p in plan.runs}
    places: dict[str, Place] = {run_id: _place_of_job(job_id) for run_id, job_id in live.items()}
    arrays: list[Array] = []
    for wave in plan.waves:
        for array in _arrays_of_wave(wave, parents=parents, places=places, live=live, size=config.site.max_array_size):
            arrays.append(array)
            alone = len(array.run_ids) == 1  # submitit does not make an array of one
            places.update({run_id: (array.name, None if alone else i) for i, run_id in enumerate(array.run_ids)})
    return tuple(arrays)


def dependency(array: Array, jobs: Mapping[str, str]) -> str | None:
    """sbatch's --dependency, given the job ids of the runs that it names."""
    if array.each_after:
        return f"aftercorr:{jobs[array.each_after[0]].partition('_')[0]}"
    return "afterok:" + ":".join(jobs[run_id] for run_id in array.after) if array.after else None


def _arrays_of_wave(
    wave: Wave, *, parents: Mapping[str, tuple[str, ...]], places: Mapping[str, Place], live: Mapping[str, str], size: int
) -> Iterator[Array]:
    waited = {run_id: tuple(sorted({p for p in parents[run_id] if p in places})) for run_id in wave.run_ids if run_id not in live}
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    by_element: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run_id, after in waited.items():
        name, element = places[after[0]] if len(after) == 1 else ("", None)
        if element is None:
            together[after].append(run_id)
        else:
            by_element[name][element].append(run_id)
    for children in by_element.values():
        while rank := _next_rank(children):
            each_after = tuple(waited[run_id][0] for run_id in rank)
            yield Array(wave=wave.name, resources=wave.resources, run_ids=tuple(rank), each_after=each_after)
        for run_id in itertools.chain.from_iterable(children.values()):
            together[waited[run_id]].append(run_id)
    for after, run_ids in together.items():
        for first in range(0, len(run_ids), size):
            yield Array(wave=wave.name, resources=wave.resources, run_ids=tuple(run_ids[first : first + size]), after=after)


def _next_rank(children: Mapping[int, list[str]]) -> list[str]:
    """Take one child of element 0, one of element 1, ... up to the first that has none left.

    With aftercorr, element i waits for element i of the other array, and submitit numbers from 0: only such a row can be told so.
    """
    rank: list[str] = []
    while left := children.get(len(rank)):
        rank.append(left[0])
    if len(rank) < 2:  # an array of one is no array: afterok does for it
        return []
    for i in range(len(rank)):
        children[i].pop(0)
    return rank


def _place_of_job(job_id: str) -> Place:
    number, _, element = job_id.partition("_")
    return number, int(element) if element else None
