"""Completes rows of runs from their jobs, or from a local queue, where files do not suffice."""

import dataclasses
from pathlib import Path

from kdbatch.base.command_lines import resume_command, shell_line
from kdbatch.launch.slurm.exit_reason import MEMORY_HINT, last_exit_reason, ran_out_of_memory
from kdbatch.launch.slurm.next_request import more_memory
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer, shared_states
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.status import RunState


def add_job_states(
    rows: dict[str, RunRow],
    assignments: dict[str, Assignment],
    submissions: dict[str, Submission],
    *,
    runs_dir: Path,
    live: QueueAnswer | None,
) -> None:
    """Replace the rows of runs that are queued, lost or stopped according to their job."""
    for row in [row for row in rows.values() if row.state == "failed"]:
        submission = submissions.get(row.run_id)
        if submission and submission.job_id == row.job:
            ending = last_exit_reason(submission)
            if ran_out_of_memory(submission, ending, state=""):  # it killed a worker's process
                rows[row.run_id] = _without_memory(row, submission)
    uncertain = [
        row
        for run_id, row in rows.items()
        if row.state in ("queued", "lost", "stopped") and row.job and run_id in submissions
    ]
    accounting: dict[str, str] = {}
    if live is not None:
        left = [row.job for row in uncertain if live.has_left(row.job)]
        accounting = shared_states(runs_dir, left)
    for row in uncertain:
        submission = submissions[row.run_id]
        is_over = row.job == submission.job_id and submission.is_over()
        if live is not None and row.job in live.holds and not is_over:
            rows[row.run_id] = _with_live_job(row, hold=live.holds[row.job])
        elif row.state != "stopped":
            log = RunFolder(runs_dir / row.run_id).log
            ending, account = last_exit_reason(submission, log=log), accounting.get(row.job, "")
            if ran_out_of_memory(submission, ending, state=account):
                rows[row.run_id] = _without_memory(row, submission)
            elif ending and ending.is_final(assignments[row.run_id].retries):
                rows[row.run_id] = _with_reason(row, "failed", ending.message)
            elif live is None or not (is_over or live.has_left(row.job)):
                continue  # SLURM may have put the job back into its queue, or has it since
            elif ending:
                rows[row.run_id] = _with_reason(row, None, ending.message)
            else:
                rows[row.run_id] = _with_ended_job(row, account)


def _with_live_job(row: RunRow, *, hold: str) -> RunRow:
    """A run whose job SLURM still has: if it was stopped or lost, it will go on. A job with a
    `hold` waits for somebody.
    """
    if hold:
        look, release = (
            shell_line("scontrol", *do, row.job) for do in (("show", "job"), ("release",))
        )
        reason = f"SLURM holds its job ({hold}); see why: {look}; then: {release}"
        return dataclasses.replace(row, state="queued", reason=reason)
    reasons: dict[RunState, str] = {
        "queued": row.reason,
        "stopped": f"{row.reason}; its job starts it again",
        "lost": "its process was lost; its job starts it again",
    }
    return dataclasses.replace(row, state="queued", reason=reasons[row.state])


def with_live_queue(row: RunRow) -> RunRow:
    """A run that a local queue will start: however it ended before, it is waiting now."""
    if row.state in ("running", "stale", "done"):
        return row  # since the queue was asked
    return dataclasses.replace(row, state="queued", reason="")


def _with_ended_job(row: RunRow, accounting: str) -> RunRow:
    """A run whose job is not in the queue any more, although its script wrote nothing. `accounting`
    is the job's last state there, if known.
    """
    if row.state == "lost":
        reason = f"{row.reason} (SLURM: {accounting})" if accounting else row.reason
        return _with_reason(row, None, reason)
    cause = f"SLURM: {accounting}" if accounting else "cancelled?"
    again = f"start it again: {resume_command()}"
    reason = f"job {row.job} left the queue before it began ({cause}); {again}"
    return _with_reason(row, None, reason)


def _without_memory(row: RunRow, submission: Submission) -> RunRow:
    """A run whose job ran out of memory: its next job asks for more, up to the most there is."""
    if not submission.memory_gb:
        return _with_reason(row, "failed", MEMORY_HINT)
    had = f"ran out of memory with {submission.memory_gb} GB"
    if more := more_memory(submission):
        return _with_reason(
            row, "stopped", f"{had}; its next job asks for {more} GB: {resume_command()}"
        )
    reason = (
        f"{had}, the most that it may ask for: raise max_memory_gb under [resources.{row.kind}] in "
        f"kdbatch.toml, or name another partition, then: {resume_command(retry_failed=True)}"
    )
    return _with_reason(row, "failed", reason)


def _with_reason(row: RunRow, state: RunState | None, reason: str) -> RunRow:
    """The row with another state and reason; without a state, it is planned unless it is lost."""
    if state is None:
        state = "lost" if row.state == "lost" else "planned"
    return dataclasses.replace(row, state=state, reason=reason)
