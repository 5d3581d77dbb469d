"""What every run does now, from the files of its folder and of its job: no worker is disturbed."""

import dataclasses
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.locks import is_held
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.exit_reason import MEMORY_HINT, accounting_states, last_exit_reason
from kdbatch.launch.slurm.submissions import Submission, last_submissions
from kdbatch.vocab.runs import Assignment, RunFolder
from kdbatch.vocab.status import RunState, Status, load_status

_ENDED: tuple[RunState, ...] = ("failed", "blocked", "lost", "damaged")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at one moment.

    planned: written, never started or submitted. queued: submitted and not started since. stale:
    its process holds the lock, but its heart stopped beating. lost: it says running, but nobody
    holds the lock. damaged: `run.json` cannot be read.
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
    """A row for each run folder, or for `only` one, by title.

    `live` are the job ids that the scheduler still knows (squeue.queued_jobs), where one was asked:
    a queued run whose job is not among them has left the queue without starting. Why, and why a run
    was lost, the accounting may know, if the site has one.
    """
    submissions = last_submissions(submissions_dir(runs_dir))
    assignments: dict[str, Assignment] = {}
    rows: dict[str, RunRow] = {}
    for path in (
        [only.path] if only else sorted(path.parent for path in runs_dir.glob("r*/run.json"))
    ):
        folder = RunFolder(path)
        try:
            assignments[folder.id] = folder.load()
            rows[folder.id] = run_row(
                folder, assignments[folder.id], submission=submissions.get(folder.id)
            )
        except UserError as error:
            rows[folder.id] = RunRow(
                run_id=folder.id, title="", kind="", state="damaged", reason=str(error)
            )
    doubtful = {
        run_id: row
        for run_id, row in rows.items()
        if row.state in ("queued", "lost", "stopped") and row.job and run_id in submissions
    }
    told = (
        accounting_states([row.job for row in doubtful.values() if row.job not in live])
        if live is not None
        else {}
    )
    for run_id, row in doubtful.items():
        if live is not None and row.job in live:
            rows[run_id] = _with_job(row)
        elif row.state == "stopped":
            continue
        else:
            seen = last_exit_reason(submissions[run_id], log=RunFolder(runs_dir / run_id).log)
            if seen and seen.is_final(assignments[run_id].retries):
                rows[run_id] = _with_reason(row, "failed", seen.message)
            elif live is not None:  # else SLURM may have put it back
                rows[run_id] = (
                    _with_reason(row, None, seen.message)
                    if seen
                    else _without_job(row, told.get(row.job, ""))
                )
    for run_id in assignments:
        _block_children(run_id, assignments, rows)
    return tuple(sorted(rows.values(), key=lambda row: (row.title, row.run_id)))


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
    """The row of one run. `state` and `reason` are what the caller knows better than the files."""
    status = load_status(folder.status) or Status(state="queued")
    is_silent = submission is not None and not _has_started_since(status, submission)
    found = state or _state(folder, status, is_silent=is_silent)
    moving = found in ("running", "stale") and 0 < status.step < status.num_steps
    return RunRow(
        run_id=folder.id,
        title=assignment.title,
        kind=assignment.run.recipe.kind,
        state=found,
        step=status.step,
        num_steps=status.num_steps,
        eta_seconds=round(status.seconds / status.step * (status.num_steps - status.step), 1)
        if moving
        else None,
        metric=status.metric,
        device_hours=round(status.seconds * assignment.resources.num_tasks / 3600, 4),
        attempt=status.attempt,
        reason=reason or _reason(found, status),
        job=submission.job_id if submission and is_silent else status.job,
    )


def _has_started_since(status: Status, submission: Submission) -> bool:
    """Whether its worker has, since it was submitted. The times are of two clocks: they are
    compared only where no job wrote the status.
    """
    return (
        status.job == submission.job_id
        if status.job
        else status.heartbeat_at >= submission.submitted_at
    )


def _state(folder: RunFolder, status: Status, *, is_silent: bool) -> RunState:
    if folder.is_done():
        return "done"
    if status.state == "running":
        return _state_of_running(folder, status)
    if is_silent:
        return "queued"
    return "planned" if status.state == "queued" else status.state


def _state_of_running(folder: RunFolder, status: Status) -> RunState:
    """Believe a fresh heartbeat, unless its process was on this machine and is gone. Only a doubt
    is worth a look at the lock.
    """
    gone = status.host == socket.gethostname() and status.pid > 0 and not _is_alive(status.pid)
    if not (gone or status.is_stale()):
        return "running"
    if is_held(folder.lock):
        return "stale"
    again = load_status(folder.status)  # it may have ended between our two looks
    if folder.is_done():
        return "done"
    return "lost" if again is None or again.state == "running" else again.state


def _with_job(row: RunRow) -> RunRow:
    """SLURM still has its job: a run that was stopped or lost goes on by itself."""
    said = {
        "queued": row.reason,
        "stopped": f"{row.reason}; its job starts it again",
        "lost": "its process was lost; its job starts it again",
    }
    return dataclasses.replace(row, state="queued", reason=said[row.state])


def _with_reason(row: RunRow, state: RunState | None, reason: str) -> RunRow:
    return dataclasses.replace(
        row, state=state or ("lost" if row.state == "lost" else "planned"), reason=reason
    )


def _without_job(row: RunRow, told: str) -> RunRow:
    """A run whose job SLURM has ended: before it began, or without a word. `told` is what the
    accounting says.
    """
    if told == "OUT_OF_MEMORY":
        return _with_reason(row, "failed", MEMORY_HINT)
    if row.state == "lost":
        return _with_reason(row, None, f"{row.reason} (SLURM says {told})" if told else row.reason)
    return _with_reason(
        row,
        None,
        f"job {row.job} left the queue before it began ({f'SLURM says {told}' if told else 'cancelled?'}); submit again",
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's: it exists
    return True


def _reason(state: RunState, status: Status) -> str:
    if state == "lost":
        return "its process ended without a word (killed, out of memory, node lost); submit again to go on from its checkpoint"
    if state == "stale":
        return "no heartbeat for over a minute, but its process still holds the lock; if it stays so: kdbatch cancel RUN, then submit again"
    return status.reason if state in ("failed", "blocked", "stopped") else ""


def _block_children(
    run_id: str, assignments: dict[str, Assignment], rows: dict[str, RunRow]
) -> None:
    """A run that has not begun and has a parent that will not end well is blocked, and so are its
    children in turn.
    """
    if rows[run_id].state not in ("planned", "queued"):
        return
    for parent in assignments[run_id].run.parents:
        if parent in assignments:
            _block_children(parent, assignments, rows)
        if parent in rows and rows[parent].state in _ENDED:
            reason = f"parent {parent} is {rows[parent].state}"
            rows[run_id] = dataclasses.replace(rows[run_id], state="blocked", reason=reason)
            return
