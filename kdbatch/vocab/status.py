"""`status.json`: the state of a run, which its worker writes; squeue and sacct only refine it."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from kdbatch.base.atomic_write import load_json, overwrite_text, write_json
from kdbatch.base.command_lines import remove_and_resume, resume_command, shell_word
from kdbatch.base.digests.sealed_json import sealed_text
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.file_clock import seconds_since_change
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count, Limits, Time
from kdbatch.base.reading.regular_files import read_regular

Cause = Literal[
    "timeout",
    "preemption",
    "node_failure",
    "memory",
    "crash",
    "requeue",
    "disk_full",
    "asked",
]
"""How an attempt ended that was interrupted; see attempts/retry_policy.py. `asked`: by a signal
from a person or from a scheduler that gave no reason.
"""

RunState = Literal[
    "planned",
    "queued",
    "running",
    "stale",
    "stopped",
    "lost",
    "done",
    "failed",
    "blocked",
    "damaged",
    "unreadable",
    "missing",
]
"""State of a run, everywhere: in status.json, in the local queue, in `kdbatch status` and in the
report.

planned: written, never started or submitted.
queued: submitted, or waiting in a local queue that is alive, and not started since.
running: its worker writes heartbeats.
stale: its worker holds the lock, but has written no heartbeat for STALE_SECONDS.
stopped: interrupted; its progress is saved and it can go on.
lost: its status is `running`, but no process holds the lock.
done: it has a done.json.
failed: it ended with an error, or was interrupted too often.
blocked: a parent did not end well.
damaged: its run.json is not what was written.
unreadable: its folder or a file of it cannot be read, so nothing is known; no command starts it.
missing: a submitted plan needs it, and it has no folder.

A worker writes running, stopped, done, failed and blocked. The other states are derived from the
lock, from `run.json`, from the plans and from the scheduler.
"""
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 4 * HEARTBEAT_SECONDS
CLOCK_SECONDS = 3600.0  # more than the clocks of a cluster's machines differ


@dataclass(frozen=True, kw_only=True)
class Status:
    """The contents of `status.json`. Times are in seconds since 1970.

    `seconds` is the time spent in all attempts so far, `metric` the last numbers to show, as text:
    of training, or at last the run's result. `test_top1` is its accuracy on the test split in
    percent.
    `job` is the job that started this attempt, at its start number `restart` (0 is the first), on
    the `node` of SLURM.

    `first_step` is the step of the checkpoint with which this attempt began, `saved_step` that of
    the last one; `saved_seconds` are those of `seconds` that are in it, or that were lost before
    this attempt. `lost_seconds` are those of earlier attempts that are in no checkpoint.

    `energy_joules` is what the first GPU used in all attempts; None where that is not measured.

    `cause` is why it was stopped, if it was. `ended` counts the attempts before it by how they
    ended, `fruitless` the time limits in a row between which no checkpoint was written.
    """

    state: RunState
    attempt: Count = 0
    step: Count = 0
    num_steps: Count = 0
    started_at: Time = 0.0
    heartbeat_at: Time = 0.0
    seconds: Time = 0.0
    metric: str = ""
    test_top1: Annotated[float, Limits("percent", least=0, most=100)] | None = None
    reason: str = ""
    host: str = ""
    node: str = ""
    pid: Count = 0
    device: str = ""
    job: str = ""
    restart: Count = 0
    first_step: Count = 0
    saved_step: Count = 0
    saved_seconds: Time | None = None
    lost_seconds: Time = 0.0
    energy_joules: Annotated[float, Limits("joules", least=0, most=10**15)] | None = None
    cause: Cause | None = None
    ended: dict[Cause, Count] = field(default_factory=dict)
    fruitless: Count = 0

    @property
    def unsaved_seconds(self) -> float:
        """The time of this attempt that is in no checkpoint; 0 where an older version wrote it."""
        return 0.0 if self.saved_seconds is None else max(0.0, self.seconds - self.saved_seconds)


def save_status(path: Path, status: Status) -> None:
    """Write `status.json`, whole or not at all."""
    write_json(path, dataclasses.asdict(status))


def overwrite_status(path: Path, status: Status) -> bool:
    """Write `status.json` in place, where the disk is full; returns whether that was possible."""
    try:
        overwrite_text(path, sealed_text(dataclasses.asdict(status)))
    except OSError:
        return False
    return True


def load_status(path: Path) -> Status | None:
    """The status; None where none was written yet, or where the file is damaged, as the worker
    replaces it.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        return parse(Status, load_json(path), where=str(path))
    except UnreadableError:
        raise
    except UserError:
        return None


def is_stale(path: Path, status: Status) -> bool:
    """Whether the status in `path` is `running`, but its last heartbeat is more than STALE_SECONDS
    old.

    The heartbeat has the time of the node's clock, and this machine's clock may differ. Where there
    is a doubt, the file's age by the clock of its file system decides.
    """
    age = time.time() - status.heartbeat_at
    if status.state != "running" or -HEARTBEAT_SECONDS <= age <= STALE_SECONDS:
        return False
    if age > CLOCK_SECONDS:  # a copy of a run's folder has files that are new
        return True
    return seconds_since_change(path, folder=path.parent.parent) > STALE_SECONDS


@dataclass(frozen=True, kw_only=True)
class RepairAdvice:
    """The advice as a text, for the end of a message. Files are read when it is printed.

    `delete` tells whether the run is only started again when its folder is gone, as it is done.
    """

    folder: Path
    delete: Callable[..., bool] = lambda: True

    def __str__(self) -> str:
        if self._is_left_out():
            return (
                "No plan names this run, so resume leaves it out: submit its experiment "
                f"again, or remove it: rm -r {shell_word(self.folder)}"
            )
        if self.delete():
            return f"Make it again: {remove_and_resume(self.folder)}"
        return f"Write it again: {resume_command(retry_failed=True)}"

    def _is_left_out(self) -> bool:
        """Whether there are plans, and none of them has the run's id."""
        try:
            plans = [read_regular(path) for path in (self.folder.parent / "plans").glob("*.json")]
        except OSError:
            return False
        return bool(plans) and not any(self.folder.name.encode() in plan for plan in plans)
