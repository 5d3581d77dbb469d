"""`sbatch.json`: the journal of each sbatch and its runs, for submits that are interrupted.

A submit may be killed at any moment, and sbatch may print anything. The journal is written before
sbatch is called and again after each step that follows. Arrays are submitted held. One whose number
was never written has not run, and the next submit, which knows it by its name, cancels it; one that
was written but not released is released.

In doubt a job counts as ours where we would submit its runs again, and as somebody else's where we
would release or cancel it: numbers of jobs are used again after a cluster was set up a second time.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import shell_line
from kdbatch.base.folders.presence import paths_below
from kdbatch.base.parse import parse
from kdbatch.base.processes import is_own_user
from kdbatch.base.reading.field_facts import Count, Time
from kdbatch.launch.slurm.answers import QueuedJob
from kdbatch.launch.slurm.commands import run_command

_CANCELLED: set[str] = set()
"""Names of jobs that this process has cancelled: squeue may answer from a copy that has them yet,
and each refusal of sbatch looks again.
"""


@dataclass(frozen=True, kw_only=True)
class Sbatch:
    """An entry of the journal. Element i of the array is keys[i], the id of a run or of a target;
    with several `runs_per_job`, an element is so many keys in their order.

    `memory_gb` is what each run asked for, of `max_memory_gb`; `has_more_memory` is whether
    that is more than kdbatch.toml says, as an earlier job ran out of it.

    `uid` is the user who submits it; copies, and entries of older versions, get the owner of
    their file.

    `name` is the job's name; `number` is its id, empty until sbatch has answered. `asked_at` is the
    time of the call in seconds since 1970. `after` is empty, or has the dependency of each element
    in SLURM's notation, "" for none.
    """

    name: str
    keys: tuple[str, ...]
    asked_at: Time
    after: tuple[str, ...] = ()
    number: str = ""
    released: bool = False
    memory_gb: Count = 0
    max_memory_gb: Count = 0
    has_more_memory: bool = False
    runs_per_job: Count = 1
    uid: Count | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this user has submitted it."""
        return is_own_user(self.uid)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The job id of each element; none until sbatch has answered."""
        if not self.number:
            return ()
        num_elements = len(self.keys) // self.runs_per_job
        if num_elements == 1:
            return (self.number,)
        return tuple(f"{self.number}_{i}" for i in range(num_elements))

    @property
    def places(self) -> Iterator[tuple[str, str, int | None]]:
        """(key, job id, place) of each key; the place is the number of a run among those that share
        its job, None where it has the job alone.
        """
        job_ids = self.job_ids  # they are made anew at each look
        for i, key in enumerate(self.keys if job_ids else ()):
            element, place = divmod(i, self.runs_per_job)
            yield key, job_ids[element], place if self.runs_per_job > 1 else None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The job of one key, and the job's name. `folder` has its logs; `submitted_at` is in seconds
    since 1970. Its memory is as of Sbatch; `place` is its number among the runs of a shared job.
    """

    job_id: str
    submitted_at: Time
    folder: Path
    name: str = ""
    memory_gb: int = 0
    max_memory_gb: int = 0
    has_more_memory: bool = False
    place: int | None = None
    uid: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether this user has submitted it."""
        return is_own_user(self.uid)

    @property
    def stem(self) -> Path:
        """The beginning of the names of this key's files: its logs, and how it ended."""
        return self.folder / (self.job_id if self.place is None else f"{self.job_id}.{self.place}")

    @property
    def over(self) -> Path:
        """The file that marks a run of a shared job as ended, or as cancelled."""
        return self.stem.with_name(f"{self.stem.name}.over")

    def is_in(self, live: Collection[str]) -> bool:
        """Whether one of these jobs is its job, and still has the run."""
        return self.job_id in live and not self.is_over()

    def is_over(self) -> bool:
        """Whether a job that others share starts this run no more."""
        return self.place is not None and self.over.exists()


def job_name(wave: str, *, journal_dir: Path) -> str:
    """A name for one call of sbatch that no other call has, in this study or in another."""
    return f"kdbatch-{wave}-{_study_hash(journal_dir)}-{secrets.token_hex(3)}"


def save_sbatch(folder: Path, sbatch: Sbatch) -> None:
    """Write the journal's entry of the array in `folder`."""
    write_json(folder / "sbatch.json", dataclasses.asdict(sbatch))


def load_sbatches(journal_dir: Path) -> dict[Path, Sbatch]:
    """Every sbatch of the journal by its folder, in the order of their calls.

    Raises:
        UserError: an entry cannot be read or is damaged, and with it the jobs of its runs, which
            must not be submitted a second time.
    """
    entries: dict[Path, Sbatch] = {}
    study = _study_hash(journal_dir)
    for path in paths_below(journal_dir, "sbatch.json"):
        advice = (
            "The jobs of its runs are not known. Cancel those that squeue --me shows with names "
            f"like kdbatch-*-{study}-*, then: {shell_line('rm', path)}"
        )
        entry = parse(Sbatch, load_json(path, advice=advice), where=str(path))
        if entry.uid is None or not entry.is_ours:
            entry = dataclasses.replace(entry, uid=path.stat().st_uid)
        entries[path.parent] = entry
    return dict(sorted(entries.items(), key=lambda entry: entry[1].asked_at))


def last_submissions(journal_dir: Path) -> dict[str, Submission]:
    """The last submission of each key."""
    return {
        key: Submission(
            job_id=job_id,
            submitted_at=sbatch.asked_at,
            folder=folder,
            name=sbatch.name,
            memory_gb=sbatch.memory_gb,
            max_memory_gb=sbatch.max_memory_gb,
            has_more_memory=sbatch.has_more_memory,
            place=place,
            uid=sbatch.uid,
        )
        for folder, sbatch in load_sbatches(journal_dir).items()
        for key, job_id, place in sbatch.places
    }


def live_jobs(
    journal_dir: Path, keys: Iterable[str], *, queue: Iterable[QueuedJob]
) -> dict[str, str]:
    """The job ids, by key, of the keys whose last submission is still in the queue, and not over in
    a job that others share. `queue` are the jobs of the study's users.
    """
    submitted = last_submissions(journal_dir)
    asked = {key: submitted[key] for key in keys if key in submitted}
    live = {job.id for job in queue}
    return {key: found.job_id for key, found in asked.items() if found.is_in(live)}


def shared_jobs(journal_dir: Path) -> set[str]:
    """The ids of the jobs that several runs share."""
    journal = load_sbatches(journal_dir).values()
    return {job_id for each in journal if each.runs_per_job > 1 for job_id in each.job_ids}


def release(folder: Path, sbatch: Sbatch, *, queue: Iterable[QueuedJob] | None = None) -> Sbatch:
    """Let the array's elements start: their files have their names, and the journal has their ids.
    `queue` are the jobs that SLURM has, if known.

    Before that, elements with dependencies of their own get them, through one scontrol. Elements
    with the same dependency share a line, and SLURM's locks.
    """
    queued = set(sbatch.job_ids)
    if queue is not None:
        queued &= {job.id for job in queue if job.may_have_name(sbatch.name)}
    by_dependency: dict[str, list[str]] = defaultdict(list)
    for job_id, after in zip(sbatch.job_ids, sbatch.after):
        if after and job_id in queued:
            by_dependency[after].append(job_id)
    updates = [
        f"update JobId={','.join(job_ids)} Dependency={after}\n"
        for after, job_ids in by_dependency.items()
    ]
    if updates:
        run_command("scontrol", stdin="".join(updates))
    if queued:
        run_command("scontrol", "release", sbatch.number)
    released = dataclasses.replace(sbatch, released=True)
    save_sbatch(folder, released)
    return released


def cancel_lost(journal_dir: Path, queue: Iterable[QueuedJob]) -> set[str]:
    """Cancel this study's jobs whose numbers the journal does not have, and return the numbers: the
    submit that called sbatch for them was killed, or did not find them.

    Such a job is held, or it has the name of an entry that has no number.
    """
    journal = load_sbatches(journal_dir).values()
    known = {sbatch.number for sbatch in journal}
    unsettled = [sbatch.name for sbatch in journal if not sbatch.number]
    own_name = re.compile(rf"kdbatch-.*-{_study_hash(journal_dir)}-[0-9a-f]{{6}}")
    lost = {
        job.number: job.name
        for job in queue
        if job.is_ours
        and job.number not in known
        and (
            any(job.has_name(name) for name in unsettled)
            or (job.is_held and own_name.fullmatch(job.name))
        )
    }
    for number, name in sorted(lost.items()):
        if name not in _CANCELLED:
            run_command("scancel", number)
            _CANCELLED.add(name)
    return set(lost)


def discard(folder: Path) -> None:
    """Remove the entry of a call of sbatch that failed, and submitit's files for it that do not
    have their final names.
    """
    scripts = folder.glob(".submission_file_*.sh")
    for path in (folder / "sbatch.json", *folder.glob("*.pkl"), *scripts):
        if not path.name.endswith(("_submitted.pkl", "_result.pkl")):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it has the logs of an earlier job
        folder.rmdir()


def _study_hash(journal_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(journal_dir.resolve())).hexdigest()[:6]
