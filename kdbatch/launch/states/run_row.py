"""The row of one run: its state and numbers, from the files of its folder."""

import socket
from dataclasses import dataclass
from typing import TypedDict

from kdbatch.base.command_lines import cancel_command, resume_command
from kdbatch.base.disk_space import problem_of_disk, remedy_of
from kdbatch.base.errors import UnreadableError
from kdbatch.base.locks import is_held
from kdbatch.base.processes import is_alive
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.status import RunState, Status, is_stale, load_status


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run at one moment. `state` is explained at RunState; `job` is the last job of the run,
    `eta_seconds` the estimated time until it is done. `lost_hours` are those of `device_hours` that
    attempts took whose work is in no checkpoint; `energy_kwh` is None where it was not measured.
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
    lost_hours: float = 0.0
    energy_kwh: float | None = None
    attempt: int = 0
    reason: str = ""
    job: str = ""


def run_row(
    folder: RunFolder,
    assignment: Assignment,
    *,
    submission: Submission | None = None,
    state: RunState | None = None,
    reason: str = "",
) -> RunRow:
    """The row of one run, from its files; `state` and `reason`, if given, take precedence."""
    status = _status_of(folder, state)
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
        **_costs(status, state, assignment.resources.num_tasks),
        attempt=status.attempt,
        reason=reason or _reason(folder, state, status),
        job=submission.job_id if submission and is_waiting else status.job,
    )


class _Costs(TypedDict):
    device_hours: float
    lost_hours: float
    energy_kwh: float | None


def _costs(status: Status, state: RunState, num_devices: int) -> _Costs:
    """The costs of all attempts, on all devices: the status has the time and the energy of one."""
    is_going_on = state in ("running", "stale", "done")
    lost_seconds = status.lost_seconds + (0.0 if is_going_on else status.unsaved_seconds)
    joules = status.energy_joules
    return {
        "device_hours": round(status.seconds * num_devices / 3600, 4),
        "lost_hours": round(lost_seconds * num_devices / 3600, 4),
        "energy_kwh": None if joules is None else round(joules * num_devices / 3.6e6, 4),
    }


def _status_of(folder: RunFolder, state: RunState | None) -> Status:
    """Its status; an empty one where there is none, and where a given state needs none."""
    try:
        return load_status(folder.status) or Status(state="queued")
    except UnreadableError:
        if state is None:
            raise
        return Status(state="queued")


def _has_started_since(status: Status, submission: Submission) -> bool:
    """Whether a worker has written the status since the submission. The times come from two
    machines' clocks, so they are compared only where the status has no job id.
    """
    if status.job:
        return status.job == submission.job_id
    return status.heartbeat_at >= submission.submitted_at


def _state(folder: RunFolder, status: Status, *, is_waiting: bool) -> RunState:
    """`is_waiting`: it was submitted, and its worker has not started since.

    A run that moves is trusted without a look at its done.json, which is written at its end.
    """
    if _has_heartbeat(folder, status):
        return "running"
    if folder.is_done():
        return "done"
    if status.state == "running":
        return _state_without_heartbeat(folder, status)
    if is_waiting:
        return "queued"
    if status.state == "done":  # its done.json was deleted, or never reached the disk
        return "stopped"
    return "planned" if status.state == "queued" else status.state


def _has_heartbeat(folder: RunFolder, status: Status) -> bool:
    """Whether it is running by its status. A fresh heartbeat is trusted, unless its process was on
    this machine and is gone.
    """
    was_here = status.host == socket.gethostname() and status.pid > 0
    is_gone = was_here and not is_alive(status.pid)
    return status.state == "running" and not is_gone and not is_stale(folder.status, status)


def _state_without_heartbeat(folder: RunFolder, status: Status) -> RunState:
    """The state behind a status `running` that is in doubt; only then the lock is checked."""
    if is_held(folder.lock):
        return "stale"
    again = load_status(folder.status)  # it may have ended since it was read
    if folder.is_done():
        return "done"
    return "lost" if again is None or again.state == "running" else again.state


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
    if state == "stopped" and status.state == "done":
        return f"its done.json is missing; it goes on from its checkpoint: {resume_command()}"
    return status.reason if state in ("failed", "blocked", "stopped") else ""
