"""Takes runs out of SLURM's queue."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.locks import hold_lock, is_held
from kdbatch.base.processes import user_name
from kdbatch.launch.machine import has_command, queue_kind
from kdbatch.launch.run_folders import all_run_ids, submissions_dir
from kdbatch.launch.slurm.commands import output_or_nothing, run_command
from kdbatch.launch.slurm.job.job_script import STEP_NAME
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.squeue.shared_answers import forget_queue
from kdbatch.launch.slurm.submissions import Submission, last_submissions
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status

MAX_JOB_IDS = 500  # on one command line


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The ids of the jobs that were cancelled. `local` are the runs that a local queue has started,
    with the process that holds each; `others` are the runs whose jobs another user has submitted,
    with that user's name; `unknown` are those of which it cannot be read whether a
    process holds them, each with the reason.
    """

    job_ids: tuple[str, ...]
    local: dict[str, str]
    others: dict[str, str]
    unknown: dict[str, str]


def cancel_runs(runs_dir: Path, run_ids: Sequence[str] | None) -> Cancelled:
    """Cancel this user's jobs of these runs; None means of all.

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
        others: dict[str, str] = {}
        for run_id in chosen:
            submission = submissions.get(run_id)
            job = queue.get(submission.job_id) if submission else None
            is_known = submission and job and job.may_have_name(submission.name)
            if submission and is_known and not submission.is_over():
                if submission.is_ours:
                    cancelled[run_id] = submission.job_id
                else:
                    others[run_id] = user_name(submission.uid)
        job_ids, steps = _jobs_and_steps(cancelled, submissions)
        # scancel kills a step at once, unless it gets the signal that asks a worker to save
        for words, ids in (((), job_ids), (("--signal=TERM",), steps)):
            for first in range(0, len(ids), MAX_JOB_IDS):
                run_command("scancel", *words, *ids[first : first + MAX_JOB_IDS])
        if cancelled:
            forget_queue(journal_dir)
    asked = all_run_ids(runs_dir) if run_ids is None else run_ids
    local, unknown = _held(runs_dir, [i for i in asked if i not in cancelled | others])
    if not has_slurm and not local and set(chosen) & set(submissions):
        raise UserError(
            "these runs were submitted to SLURM, and there is no squeue here. Go to a login node, "
            "and repeat the command there"
        )
    return Cancelled(
        job_ids=tuple(dict.fromkeys(cancelled.values())),
        local=local,
        others=others,
        unknown=unknown,
    )


def _jobs_and_steps(
    cancelled: Mapping[str, str], submissions: Mapping[str, Submission]
) -> tuple[list[str], list[str]]:
    """The ids of jobs whose runs are all cancelled, and of the steps of other runs. These are
    marked first, so that their job does not start them again.
    """
    asked = dict.fromkeys(cancelled.values())
    going_on = {
        submission.job_id
        for run_id, submission in submissions.items()
        if run_id not in cancelled and submission.job_id in asked and not submission.is_over()
    }
    steps: list[str] = []
    for job_id in going_on:
        runs = [submissions[run_id] for run_id, its in cancelled.items() if its == job_id]
        for run in runs:
            run.over.touch()
        steps += _steps(job_id, runs)
    return [job_id for job_id in asked if job_id not in going_on], steps


def _steps(job_id: str, runs: Iterable[Submission]) -> list[str]:
    """The ids of the steps of these runs; none of a job that waits, or that has no steps."""
    names = {f"{STEP_NAME}-{run.place}" for run in runs}
    listing = output_or_nothing(
        "squeue", "--steps", f"--jobs={job_id}", "--noheader", "--format=%i|%j"
    )
    lines = (line.strip().partition("|") for line in listing.split("\n"))
    return [step for step, _, name in lines if name in names and step.startswith(f"{job_id}.")]


def _held(runs_dir: Path, run_ids: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The runs that processes hold, each with its process, and those of which that cannot be read,
    each with the reason.
    """
    held: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for run_id in run_ids:
        folder = RunFolder(runs_dir / run_id)
        try:
            if is_held(folder.lock):
                held[run_id] = _holder(folder)
        except UnreadableError as error:
            unknown[run_id] = str(error)
    return held, unknown


def _holder(folder: RunFolder) -> str:
    status = load_status(folder.status)
    return f"process {status.pid} on {status.host}" if status else "another process"
