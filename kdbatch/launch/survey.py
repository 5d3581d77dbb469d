"""What every run does now, from the files of its folder: no scheduler is asked, no worker is disturbed."""

import dataclasses
import os
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdbatch.launch.journal import load_submission
from kdbatch.launch.locks import is_held
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.runs import Assignment, RunFolder
from kdbatch.vocab.status import State, Status, load_status

RowState = State | Literal["planned", "stale", "lost", "damaged"]
_ENDED = ("failed", "blocked", "lost", "damaged")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at one moment.

    planned: written, never started or submitted. queued: submitted and not started since. stale: its process holds the lock, but
    its heart stopped beating. lost: it says running, but nobody holds the lock. damaged: `run.json` cannot be read.
    """

    run_id: str
    title: str
    kind: str
    state: RowState
    step: int = 0
    num_steps: int = 0
    eta_seconds: float | None = None
    metric: str = ""
    device_hours: float = 0.0
    attempt: int = 0
    reason: str = ""
    job: str = ""


def survey(runs_dir: Path, *, live: Collection[str] | None = None) -> tuple[RunRow, ...]:
    """A row for each run folder, by title.

    `live` are the job ids that the scheduler still knows (journal.live_job_ids), where one was asked: a queued run whose job is not
    among them has left the queue without starting.
    """
    assignments: dict[str, Assignment] = {}
    rows: dict[str, RunRow] = {}
    for path in sorted(runs_dir.glob("r*/run.json")):
        folder = RunFolder(path.parent)
        try:
            assignments[folder.id] = folder.load()
            rows[folder.id] = row_of(folder, assignments[folder.id])
        except UserError as error:
            rows[folder.id] = RunRow(run_id=folder.id, title="", kind="", state="damaged", reason=str(error))
    if live is not None:
        rows = {run_id: _without_job(row) if row.state == "queued" and row.job not in live else row for run_id, row in rows.items()}
    for run_id in assignments:
        _block(run_id, assignments, rows)
    return tuple(sorted(rows.values(), key=lambda row: (row.title, row.run_id)))


def as_json(rows: tuple[RunRow, ...]) -> list[dict[str, Any]]:
    """The rows as plain values, one mapping per run."""
    return [dataclasses.asdict(row) for row in rows]


def row_of(folder: RunFolder, assignment: Assignment, *, state: RowState | None = None, reason: str = "") -> RunRow:
    """The row of one run. `state` and `reason` are what the caller knows better than the files."""
    status = load_status(folder.status) or Status(state="queued")
    submission = load_submission(folder.path.parent, folder.id)
    found = state or _state(folder, status, submitted_at=submission.submitted_at if submission else None)
    moving = found in ("running", "stale") and 0 < status.step < status.num_steps
    return RunRow(
        run_id=folder.id,
        title=assignment.title,
        kind=assignment.run.recipe.kind,
        state=found,
        step=status.step,
        num_steps=status.num_steps,
        eta_seconds=round(status.seconds / status.step * (status.num_steps - status.step), 1) if moving else None,
        metric=status.metric,
        device_hours=round(status.seconds * assignment.resources.num_tasks / 3600, 4),
        attempt=status.attempt,
        reason=reason or _reason(found, status),
        job=status.job or (submission.job_id if submission else ""),
    )


def _state(folder: RunFolder, status: Status, *, submitted_at: float | None) -> RowState:
    if folder.is_done():
        return "done"
    if status.state == "running":
        return _state_of_running(folder, status)
    if submitted_at is not None and submitted_at > status.heartbeat_at:
        return "queued"
    return "planned" if status.state == "queued" else status.state


def _state_of_running(folder: RunFolder, status: Status) -> RowState:
    """Believe a fresh heartbeat, unless its process was on this machine and is gone. Only a doubt is worth a look at the lock."""
    gone = status.host == socket.gethostname() and status.pid > 0 and not _is_process(status.pid)
    if not (gone or status.is_stale()):
        return "running"
    if is_held(folder.lock):
        return "stale"
    again = load_status(folder.status)  # it may have ended between our two looks
    if folder.is_done():
        return "done"
    return "lost" if again is None or again.state == "running" else again.state


def _without_job(row: RunRow) -> RunRow:
    return dataclasses.replace(row, state="planned", reason=f"job {row.job} left the queue before it began (cancelled?); submit again")


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's: it exists
    return True


def _reason(state: RowState, status: Status) -> str:
    if state == "lost":
        return "its process ended without a word (killed, out of memory, node lost); submit again to go on from its checkpoint"
    if state == "stale":
        return "no heartbeat for over a minute, but its process still holds the lock"
    return status.reason if state in ("failed", "blocked", "stopped") else ""


def _block(run_id: str, assignments: dict[str, Assignment], rows: dict[str, RunRow]) -> None:
    """A run that has not begun and has a parent that will not end well is blocked, and so are its children in turn."""
    if rows[run_id].state not in ("planned", "queued"):
        return
    for parent in assignments[run_id].run.parents:
        if parent in assignments:
            _block(parent, assignments, rows)
        if parent in rows and rows[parent].state in _ENDED:
            reason = f"parent {parent} is {rows[parent].state}"
            rows[run_id] = dataclasses.replace(rows[run_id], state="blocked", reason=reason)
            return
