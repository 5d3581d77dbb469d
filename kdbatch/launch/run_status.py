"""The state of every run, from the files of its folder and of its job; no worker is disturbed."""

import dataclasses
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbatch.base.command_lines import cancel_command, resume_command
from kdbatch.base.disk_space import problem_of_disk, remedy_of
from kdbatch.base.errors import UserError
from kdbatch.base.locks import is_held
from kdbatch.base.processes import is_alive
from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.saved_plans import recorded_runs
from kdbatch.launch.slurm.exit_reason import MEMORY_HINT, accounting_states, last_exit_reason
from kdbatch.launch.slurm.submissions import Submission, last_submissions
from kdbatch.vocab.plans import RecordedRun, find_records
from kdbatch.vocab.runs import Assignment, RunFolder
from kdbatch.vocab.status import RunState, Status, is_stale, load_status

_ENDED: tuple[RunState, ...] = ("failed", "blocked", "lost", "damaged")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at one moment. `state` is explained at RunState; `job` is the last job of the run,
    `eta_seconds` the estimated time until it is done.
    """

    run_id: str
    title: str
    kind: str
    state: RunState
    step: int = 0
    num_steps: int = 0
    eta_seconds: float | None = None
    metric: str = ""
    device_hours: float = 0.0
    attempt: int = 0
    reason: str = ""
    job: str = ""


def load_run_rows(
    runs_dir: Path, *, live: Collection[str] | None = None, only: RunFolder | None = None
) -> tuple[RunRow, ...]:
    """A row for each run folder and for each run of a submitted plan, or for `only` one, sorted by
    title.

    `live` are the job ids that the scheduler still has (commands.queued_jobs); None where it was
    not called. With them, a queued run whose job is not among them is known to have left the queue
    without starting; the reason for that, or for the loss of a run, is in its job's script or in
    the accounting, if the site has one. A run that a live local queue will start is queued.
    """
    waiting = {run_id for queue in live_queues(runs_dir) for run_id in queue.waiting}
    submissions = last_submissions(submissions_dir(runs_dir))
    assignments: dict[str, Assignment] = {}
    rows: dict[str, RunRow] = {}
    paths = [only.path] if only else sorted(path.parent for path in runs_dir.glob("r*/run.json"))
    for path in paths:
        folder = RunFolder(path)
        try:
            assignment = folder.load()
            row = run_row(folder, assignment, submission=submissions.get(folder.id))
        except UserError as error:
            row = RunRow(run_id=folder.id, title="", kind="", state="damaged", reason=str(error))
        else:
            assignments[folder.id] = assignment
        rows[folder.id] = row
    _add_job_states(rows, assignments, submissions, runs_dir=runs_dir, live=live)
    for run_id in waiting & assignments.keys():
        rows[run_id] = _with_live_queue(rows[run_id])
    if only is None:
        rows |= _missing_rows(runs_dir, rows, assignments)
    for run_id in assignments:
        _block_if_parent_ended(run_id, assignments, rows)
    return tuple(sorted(rows.values(), key=lambda row: (row.title, row.run_id)))


def of_submitted_plans(rows: Sequence[RunRow], runs_dir: Path) -> tuple[RunRow, ...]:
    """The rows of runs that a submitted plan needs, which are what `kdbatch resume` starts.

    A plan of an older version does not name all of them: then these are all rows.
    """
    records = find_records(runs_dir)
    if not all(record.runs for record in records):
        return tuple(rows)
    needed = {run.id for record in records for run in record.runs}
    return tuple(row for row in rows if row.run_id in needed)


def _missing_rows(
    runs_dir: Path, rows: Collection[str], assignments: Mapping[str, Assignment]
) -> dict[str, RunRow]:
    """The runs that submitted plans need and that have no row, as their folders are gone."""
    needed = {run.id: run for record in find_records(runs_dir) for run in recorded_runs(record)}
    to_visit = list(needed)
    for run_id in to_visit:  # plans of older versions do not name all parents
        for parent in assignments[run_id].run.parents if run_id in assignments else ():
            if parent not in needed:
                needed[parent] = RecordedRun(id=parent, title=f"parent of {run_id}", kind="")
                to_visit.append(parent)
    return {
        run.id: RunRow(
            run_id=run.id,
            title=run.title,
            kind=run.kind,
            state="missing",
            reason="its folder was deleted",
        )
        for run in needed.values()
        if run.id not in rows
    }


def rows_as_json(rows: tuple[RunRow, ...]) -> list[dict[str, Any]]:
    """The rows as plain values, one mapping per run."""
    return [dataclasses.asdict(row) for row in rows]


def run_row(
    folder: RunFolder,
    assignment: Assignment,
    *,
    submission: Submission | None = None,
    state: RunState | None = None,
    reason: str = "",
) -> RunRow:
    """The row of one run, from its files; `state` and `reason`, if given, take precedence."""
    status = load_status(folder.status) or Status(state="queued")
    is_waiting = submission is not None and not _has_started_since(status, submission)
    state = state or _state(folder, status, is_waiting=is_waiting)
    eta_seconds = None
    if state in ("running", "stale") and 0 < status.step < status.num_steps:
        eta_seconds = round(status.seconds / status.step * (status.num_steps - status.step), 1)
    return RunRow(
        run_id=folder.id,
        title=assignment.title,
        kind=assignment.run.recipe.kind,
        state=state,
        step=status.step,
        num_steps=status.num_steps,
        eta_seconds=eta_seconds,
        metric=status.metric,
        device_hours=round(status.seconds * assignment.resources.num_tasks / 3600, 4),
        attempt=status.attempt,
        reason=reason or _reason(folder, state, status),
        job=submission.job_id if submission and is_waiting else status.job,
    )


def _add_job_states(
    rows: dict[str, RunRow],
    assignments: dict[str, Assignment],
    submissions: dict[str, Submission],
    *,
    runs_dir: Path,
    live: Collection[str] | None,
) -> None:
    """Replace the rows of runs that are queued, lost or stopped according to their job."""
    uncertain = [
        row
        for run_id, row in rows.items()
        if row.state in ("queued", "lost", "stopped") and row.job and run_id in submissions
    ]
    accounting: dict[str, str] = {}
    if live is not None:
        accounting = accounting_states([row.job for row in uncertain if row.job not in live])
    for row in uncertain:
        if live is not None and row.job in live:
            rows[row.run_id] = _with_live_job(row)
        elif row.state != "stopped":
            log = RunFolder(runs_dir / row.run_id).log
            ending = last_exit_reason(submissions[row.run_id], log=log)
            if ending and ending.is_final(assignments[row.run_id].retries):
                rows[row.run_id] = _with_reason(row, "failed", ending.message)
            elif live is None:
                continue  # SLURM may have put the job back into its queue
            elif ending:
                rows[row.run_id] = _with_reason(row, None, ending.message)
            else:
                rows[row.run_id] = _with_ended_job(row, accounting.get(row.job, ""))


def _has_started_since(status: Status, submission: Submission) -> bool:
    """Whether a worker has written the status since the submission. The times come from two
    machines' clocks, so they are compared only where the status has no job id.
    """
    if status.job:
        return status.job == submission.job_id
    return status.heartbeat_at >= submission.submitted_at


def _state(folder: RunFolder, status: Status, *, is_waiting: bool) -> RunState:
    """`is_waiting`: it was submitted, and its worker has not started since."""
    if folder.is_done():
        return "done"
    if status.state == "running":
        return _state_of_running(folder, status)
    if is_waiting:
        return "queued"
    return "planned" if status.state == "queued" else status.state


def _state_of_running(folder: RunFolder, status: Status) -> RunState:
    """The state behind a status `running`. A fresh heartbeat is trusted, unless its process was on
    this machine and is gone; the lock is checked only where there is a doubt.
    """
    was_here = status.host == socket.gethostname() and status.pid > 0
    is_gone = was_here and not is_alive(status.pid)
    if not (is_gone or is_stale(folder.status, status)):
        return "running"
    if is_held(folder.lock):
        return "stale"
    again = load_status(folder.status)  # it may have ended since it was read
    if folder.is_done():
        return "done"
    return "lost" if again is None or again.state == "running" else again.state


def _with_live_job(row: RunRow) -> RunRow:
    """A run whose job SLURM still has: if it was stopped or lost, it will go on."""
    reasons: dict[RunState, str] = {
        "queued": row.reason,
        "stopped": f"{row.reason}; its job starts it again",
        "lost": "its process was lost; its job starts it again",
    }
    return dataclasses.replace(row, state="queued", reason=reasons[row.state])


def _with_live_queue(row: RunRow) -> RunRow:
    """A run that a local queue will start: however it ended before, it is waiting now."""
    if row.state in ("running", "stale", "done"):
        return row  # since the queue was asked
    return dataclasses.replace(row, state="queued", reason="")


def _with_ended_job(row: RunRow, accounting: str) -> RunRow:
    """A run whose job is not in the queue any more, although its script wrote nothing. `accounting`
    is the job's last state there, if known.
    """
    if accounting == "OUT_OF_MEMORY":
        return _with_reason(row, "failed", MEMORY_HINT)
    if row.state == "lost":
        reason = f"{row.reason} (SLURM: {accounting})" if accounting else row.reason
        return _with_reason(row, None, reason)
    cause = f"SLURM: {accounting}" if accounting else "cancelled?"
    again = f"start it again: {resume_command()}"
    reason = f"job {row.job} left the queue before it began ({cause}); {again}"
    return _with_reason(row, None, reason)


def _with_reason(row: RunRow, state: RunState | None, reason: str) -> RunRow:
    """The row with another state and reason; without a state, it is planned unless it is lost."""
    if state is None:
        state = "lost" if row.state == "lost" else "planned"
    return dataclasses.replace(row, state=state, reason=reason)


def _reason(folder: RunFolder, state: RunState, status: Status) -> str:
    if state == "lost":
        problem = problem_of_disk(folder.path)  # may have kept it from writing a last status
        why = f"its disk: {problem}" if problem else "killed, out of memory, node lost"
        first = f"{remedy_of(problem).lower()}, then " if problem else ""
        return (
            f"its process ended without a final status ({why}); "
            f"{first}go on from its checkpoint: {resume_command()}"
        )
    if state == "stale":
        return (
            "no heartbeat for over a minute, but its process still holds the lock; "
            f"if it stays so: {cancel_command(folder.id)}, then: {resume_command()}"
        )
    return status.reason if state in ("failed", "blocked", "stopped") else ""


def _block_if_parent_ended(
    run_id: str, assignments: dict[str, Assignment], rows: dict[str, RunRow]
) -> None:
    """Mark a run that has not begun as blocked if one of its parents has ended badly or is itself
    blocked.
    """
    if rows[run_id].state not in ("planned", "queued"):
        return
    for parent in assignments[run_id].run.parents:
        if parent in assignments:
            _block_if_parent_ended(parent, assignments, rows)
        if parent in rows and rows[parent].state in _ENDED:
            reason = f"parent {parent} is {rows[parent].state}"
            rows[run_id] = dataclasses.replace(rows[run_id], state="blocked", reason=reason)
            return
