"""The queue as a submit needs it: with jobs that squeue does not list yet, without lost ones."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.launch.slurm.answers import QueuedJob, read_job_records
from kdbatch.launch.slurm.cluster_info import slurm_settings
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
    """Complete or undo what an interrupted submit of this user has begun. Returns the jobs of all
    users who have submitted runs of the study; none where nothing was submitted. The caller holds
    the study's lock.

    Raises:
        UserError: SLURM does not answer.
    """
    if not any(journal_dir.glob("*/sbatch.json")):
        return ()
    journal = load_sbatches(journal_dir)
    listed = queued_jobs(others=_others(journal.values()))
    cancelled = cancel_lost(journal_dir, listed)
    queue = with_late_jobs(listed, journal.values())
    for folder, sbatch in journal.items():
        if not sbatch.is_ours:
            continue
        if not sbatch.number:
            discard(folder)
        elif not sbatch.released:
            release(folder, sbatch, queue=queue)
    return tuple(job for job in queue if job.number not in cancelled)


def study_queue(journal_dir: Path, *, once: bool = False) -> tuple[QueuedJob, ...]:
    """The jobs of all users who have submitted runs of the study, with those of the journal that
    squeue does not list yet; none where nothing was submitted. `once` as of queued_jobs().

    Raises:
        UserError: squeue does not answer.
    """
    journal = load_sbatches(journal_dir).values()
    if not any(each.number for each in journal):
        return ()
    return with_late_jobs(queued_jobs(once=once, others=_others(journal)), journal)


def with_late_jobs(
    queue: Collection[QueuedJob], journal: Iterable[Sbatch]
) -> tuple[QueuedJob, ...]:
    """The jobs that squeue lists, and those of arrays that were submitted so shortly before that it
    may not list them yet. An old answer lacks an array as a whole.

    Where a site hides the jobs of other users, they count as in the queue: only the user who has
    submitted them learns that they are gone.
    """
    listed, since = {job.number for job in queue}, time.time() - COPY_SECONDS
    missing = [each for each in journal if each.number and each.number not in listed]
    are_hidden = any(not each.is_ours for each in missing) and _hides_others()
    jobs = list(queue)
    for each in missing:
        if are_hidden and not each.is_ours:
            jobs += _all_jobs_of(each)
        elif each.asked_at > since:
            jobs += _jobs_of(each)
    return tuple(jobs)


def _others(journal: Iterable[Sbatch]) -> set[int]:
    """The ids of other users who have submitted runs of the study."""
    return {each.uid for each in journal if each.uid is not None and not each.is_ours}


def _hides_others() -> bool:
    """Whether squeue may lack jobs of other users; also where SLURM does not tell."""
    private = slurm_settings().get("PrivateData")
    return private is None or "jobs" in private


def _all_jobs_of(sbatch: Sbatch) -> tuple[QueuedJob, ...]:
    return tuple(QueuedJob(id=each, name=sbatch.name, uid=sbatch.uid) for each in sbatch.job_ids)


def _jobs_of(sbatch: Sbatch) -> tuple[QueuedJob, ...]:
    """The jobs that the controller itself has of an array; all of them where it does not tell."""
    everything = _all_jobs_of(sbatch)
    try:
        printed = run_command("scontrol", "--oneliner", "show", "job", sbatch.number, once=True)
    except UserError as error:
        return () if "Invalid job id" in str(error) else everything
    records = read_job_records(printed)
    if records is None:
        return everything
    return tuple(replace(job, uid=sbatch.uid) for job in records if job.may_have_name(sbatch.name))
