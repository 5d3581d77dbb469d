"""Takes runs out of SLURM's queue."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.locks import hold_lock, is_held
from kdbatch.launch.machine import has_command, queue_kind
from kdbatch.launch.run_folders import all_run_ids, submissions_dir
from kdbatch.launch.slurm.commands import run_command
from kdbatch.launch.slurm.submissions import last_submissions, recover
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import load_status

MAX_JOB_IDS = 500  # on one command line


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The ids of the jobs that were cancelled. `local` are the runs that a local queue has started,
    with the process that holds each; `unknown` are those of which it cannot be read whether a
    process holds them, each with the reason.
    """

    job_ids: tuple[str, ...]
    local: dict[str, str]
    unknown: dict[str, str]


def cancel_runs(runs_dir: Path, run_ids: Sequence[str] | None) -> Cancelled:
    """Cancel the jobs of these runs; None means of all.

    A submit in another shell waits until this is done, so that no job is missed. Nothing is written
    where nothing was submitted.

    Raises:
        UserError: SLURM does not answer, or is not on this machine.
    """
    journal_dir = submissions_dir(runs_dir)
    lock = runs_dir / "submit.lock"  # made by the first submit
    with hold_lock(lock) if is_present(lock) else nullcontext():
        has_slurm = has_command("squeue") or queue_kind() == "slurm"
        queue = {job.id: job for job in recover(journal_dir)} if has_slurm else {}
        submissions = last_submissions(journal_dir)
        chosen = submissions if run_ids is None else run_ids
        cancelled: dict[str, str] = {}
        for run_id in chosen:
            submission = submissions.get(run_id)
            job = queue.get(submission.job_id) if submission else None
            if submission and job and job.may_have_name(submission.name):
                cancelled[run_id] = job.id
        job_ids = tuple(cancelled.values())
        for first in range(0, len(job_ids), MAX_JOB_IDS):
            run_command("scancel", *job_ids[first : first + MAX_JOB_IDS])
    local: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for run_id in all_run_ids(runs_dir) if run_ids is None else run_ids:
        folder = RunFolder(runs_dir / run_id)
        try:
            if run_id not in cancelled and is_held(folder.lock):
                local[run_id] = _holder(folder)
        except UnreadableError as error:
            unknown[run_id] = str(error)
    if not has_slurm and not local and set(chosen) & set(submissions):
        raise UserError(
            "these runs were submitted to SLURM, and there is no squeue here. Go to a login node, "
            "and repeat the command there"
        )
    return Cancelled(job_ids=job_ids, local=local, unknown=unknown)


def _holder(folder: RunFolder) -> str:
    status = load_status(folder.status)
    return f"process {status.pid} on {status.host}" if status else "another process"
