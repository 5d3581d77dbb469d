"""`sbatch.json`: one sbatch and its runs. Written before sbatch is called and again after each
thing that it leads to.

So a submit may be killed at any moment. Arrays are submitted held: one whose number was never noted
has not run, and is cancelled by the next submit, which knows it by its name; one that was noted but
not released is released.
"""

import dataclasses
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.launch.slurm.commands import QueuedJob, queued_jobs, run_command


@dataclass(frozen=True, kw_only=True)
class Sbatch:
    """Element i is keys[i], a run's id. `name` is the job's own; `number` is its id, empty until
    sbatch has answered.

    `after` is empty, or has the dependency of each element, in SLURM's words; "" for none.
    `asked_at` is in seconds since 1970.
    """

    name: str
    keys: tuple[str, ...]
    asked_at: float
    after: tuple[str, ...] = ()
    number: str = ""
    released: bool = False

    @property
    def job_ids(self) -> tuple[str, ...]:
        if not self.number:
            return ()
        return (
            (self.number,)
            if len(self.keys) == 1
            else tuple(f"{self.number}_{i}" for i in range(len(self.keys)))
        )


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A key met the scheduler. `folder` has the logs of its job."""

    job_id: str
    submitted_at: float
    folder: Path


def job_name(wave: str, *, journal_dir: Path) -> str:
    """A name that nobody else uses: of this study (`home` is the folder of its journal), and of
    this one call of sbatch.
    """
    return f"kdbatch-{wave}-{_study_hash(journal_dir)}-{secrets.token_hex(3)}"


def save_sbatch(folder: Path, sbatch: Sbatch) -> None:
    write_json(folder / "sbatch.json", dataclasses.asdict(sbatch))


def load_sbatches(journal_dir: Path) -> dict[Path, Sbatch]:
    """Every sbatch below `home` by its folder, in the order of their calls. A damaged entry counts
    as none: see `settle`.
    """
    entries: dict[Path, Sbatch] = {}
    for path in journal_dir.glob("*/sbatch.json"):
        try:
            entries[path.parent] = parse(Sbatch, load_json(path), where=str(path))
        except UserError:
            continue
    return dict(sorted(entries.items(), key=lambda entry: entry[1].asked_at))


def last_submissions(journal_dir: Path) -> dict[str, Submission]:
    """The last submission of each key."""
    return {
        key: Submission(job_id=job_id, submitted_at=sbatch.asked_at, folder=folder)
        for folder, sbatch in load_sbatches(journal_dir).items()
        for key, job_id in zip(sbatch.keys, sbatch.job_ids)
    }


def live_jobs(journal_dir: Path, keys: Iterable[str]) -> dict[str, str]:
    """Job ids, by key, of those whose last submission is still in the queue. SLURM is asked only if
    there was one.

    Raises:
        UserError: squeue does not answer.
    """
    submitted = last_submissions(journal_dir)
    mine = {key: submitted[key].job_id for key in keys if key in submitted}
    live = {job.id for job in queued_jobs()} if mine else set()
    return {key: job_id for key, job_id in mine.items() if job_id in live}


def recover(journal_dir: Path) -> None:
    """Put right what an interrupted submit has left. Call it with the study's lock held.

    Raises:
        UserError: SLURM does not answer.
    """
    journal = load_sbatches(journal_dir)
    if all(sbatch.released for sbatch in journal.values()):
        return
    queue = queued_jobs()
    known = {sbatch.number for sbatch in journal.values()}
    cancel_held(journal_dir, queue, known=known)
    for folder, sbatch in journal.items():
        if not sbatch.number:
            discard(folder)
        elif not sbatch.released:
            release(folder, sbatch, queue=queue)


def release(folder: Path, sbatch: Sbatch, *, queue: Iterable[QueuedJob] | None = None) -> Sbatch:
    """Let the array's elements start: their files have their names, and the journal has their ids.
    `queue` is what SLURM has, if known.

    Before that, each that waits for runs of its own is told so, all of them through one scontrol.
    Those that wait for the same share a line, and SLURM's locks.
    """
    queued = set(sbatch.job_ids) if queue is None else {job.id for job in queue}
    together: dict[str, list[str]] = defaultdict(list)
    for job_id, after in zip(sbatch.job_ids, sbatch.after):
        if after and job_id in queued:
            together[after].append(job_id)
    if together:
        run_command(
            "scontrol",
            stdin="".join(
                f"update JobId={','.join(job_ids)} Dependency={after}\n"
                for after, job_ids in together.items()
            ),
        )
    if queued & set(sbatch.job_ids):
        run_command("scontrol", "release", sbatch.number)
    released = dataclasses.replace(sbatch, released=True)
    save_sbatch(folder, released)
    return released


def cancel_held(journal_dir: Path, queue: Iterable[QueuedJob], *, known: Iterable[str]) -> None:
    """Cancel this study's held jobs that the journal does not know: sbatch made them for a submit
    that did not live to note it.
    """
    mark = f"-{_study_hash(journal_dir)}-"
    for number in sorted(
        {job.number for job in queue if mark in job.name and job.is_held} - set(known)
    ):
        run_command("scancel", number)


def discard(folder: Path) -> None:
    """The call of sbatch led to nothing: remove its entry, and the files that submitit had made for
    it and not yet named.
    """
    for path in (
        folder / "sbatch.json",
        *folder.glob("*.pkl"),
        *folder.glob(".submission_file_*.sh"),
    ):
        if not path.name.endswith(("_submitted.pkl", "_result.pkl")):
            path.unlink(missing_ok=True)


def _study_hash(journal_dir: Path) -> str:
    return hashlib.sha256(str(journal_dir.resolve()).encode()).hexdigest()[:6]
