"""The queue as a submit needs it: with jobs that squeue does not list yet, without lost ones."""

import time
from collections.abc import Collection, Iterable
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.launch.slurm.answers import QueuedJob, read_job_records
from kdbatch.launch.slurm.commands import queued_jobs, run_command
from kdbatch.launch.slurm.submissions import (
    Sbatch,
    cancel_lost,
    discard,
    load_sbatches,
    release,
)

COPY_SECONDS = 150.0
"""How old an answer of squeue may be: some sites answer from a copy that is made each minute."""


def recover(journal_dir: Path) -> tuple[QueuedJob, ...]:
    """Complete or undo what an interrupted submit has begun. Returns the user's jobs; none where
    nothing was submitted. The caller holds the study's lock.

    Raises:
        UserError: SLURM does not answer.
    """
    if not any(journal_dir.glob("*/sbatch.json")):
        return ()
    listed, journal = queued_jobs(), load_sbatches(journal_dir)
    cancelled = cancel_lost(journal_dir, listed)
    queue = with_late_jobs(listed, journal.values())
    for folder, sbatch in journal.items():
        if not sbatch.number:
            discard(folder)
        elif not sbatch.released:
            release(folder, sbatch, queue=queue)
    return tuple(job for job in queue if job.number not in cancelled)


def own_queue(journal_dir: Path, *, once: bool = False) -> tuple[QueuedJob, ...]:
    """The user's jobs, with those of the journal that squeue does not list yet; none where nothing
    was submitted. `once` as of queued_jobs().

    Raises:
        UserError: squeue does not answer.
    """
    journal = load_sbatches(journal_dir).values()
    if not any(each.number for each in journal):
        return ()
    return with_late_jobs(queued_jobs(once=once), journal)


def with_late_jobs(
    queue: Collection[QueuedJob], journal: Iterable[Sbatch]
) -> tuple[QueuedJob, ...]:
    """The jobs that squeue lists, and those of arrays that were submitted so shortly before that it
    may not list them yet. An old answer lacks an array as a whole.
    """
    listed, since = {job.number for job in queue}, time.time() - COPY_SECONDS
    late = [each for each in journal if each.asked_at > since and each.number not in listed]
    return (*queue, *(job for each in late if each.number for job in _jobs_of(each)))


def _jobs_of(sbatch: Sbatch) -> tuple[QueuedJob, ...]:
    """The jobs that the controller itself has of an array; all of them where it does not tell."""
    everything = tuple(QueuedJob(id=each, name=sbatch.name) for each in sbatch.job_ids)
    try:
        printed = run_command("scontrol", "--oneliner", "show", "job", sbatch.number, once=True)
    except UserError as error:
        return () if "Invalid job id" in str(error) else everything
    records = read_job_records(printed)
    if records is None:
        return everything
    return tuple(job for job in records if job.may_have_name(sbatch.name))
