"""How an attempt at a run ends that does not finish it: exit code, state, cause and reason."""

import contextlib
import traceback
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.base.command_lines import resume_command, shell_word
from kdbatch.base.disk_space import (
    LOST_DISK_ERRORS,
    OPEN_FILES_ERRORS,
    disk_full_error,
    open_files_limit,
    system_error,
)
from kdbatch.base.errors import UserError
from kdbatch.run.distributed.process_group import ProcessGroup, is_lost_rank
from kdbatch.run.heartbeat import StatusReporter, Stopped
from kdbatch.vocab.attempts.exit_rules import (
    EXIT_BUG,
    EXIT_DISK_FULL,
    EXIT_STOPPED,
    EXIT_USER,
    exit_rule,
)
from kdbatch.vocab.jobs.pause import pause
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Cause, RunState


@dataclass(frozen=True, kw_only=True)
class DiskEnding:
    """How an attempt ends whose files could not be read or written; `path` is on the full disk."""

    code: int
    state: RunState
    cause: Cause | None
    reason: str
    path: Path | None = None


def disk_ending(error: BaseException, *, path: Path) -> DiskEnding | None:
    """The ending that an error of the file system causes; None for any other error.

    A full or read-only disk waits for a person. A file server that is lost may be back at the next
    start, or be there for another node: that counts as a crash. `path` is where the error was met,
    if it names no file.
    """
    if full := disk_full_error(error, path=path, or_read_only=True):
        return DiskEnding(
            code=EXIT_DISK_FULL,
            state="stopped",
            cause="disk_full",
            reason=str(full),
            path=Path(full.filename),
        )
    if lost := system_error(error, LOST_DISK_ERRORS, path=path):
        reason = f"{lost.filename}: {lost.strerror} (its disk or file server)"
        return DiskEnding(code=EXIT_STOPPED, state="stopped", cause="crash", reason=reason)
    if isinstance(error, PermissionError) and error.filename:
        name = str(error.filename)
        reason = f"{name}: {error.strerror}. Who may use it: ls -ld {shell_word(name)}"
        return DiskEnding(code=EXIT_USER, state="failed", cause=None, reason=reason)
    if many := system_error(error, OPEN_FILES_ERRORS, path=path):
        reason = (
            f"{many.filename}: {many.strerror}; {open_files_limit()} are allowed. "
            f"Allow more (ulimit -n 4096), then: {resume_command(retry_failed=True)}"
        )
        return DiskEnding(code=EXIT_USER, state="failed", cause=None, reason=reason)
    return None


def pause_if_shared(ending: DiskEnding, folder: RunFolder) -> None:
    """Pause the study where the full disk is that of its runs, and not one of this node."""
    with contextlib.suppress(OSError):
        if ending.path and _device_of(ending.path) == _device_of(folder.path):
            pause(folder.path.parent, ending.reason)


def _device_of(path: Path) -> int:
    """The device of a file that may not be there."""
    return next(p for p in (path, *path.parents) if p.exists()).stat().st_dev


def end_attempt(
    error: Exception, folder: RunFolder, reporter: StatusReporter, group: ProcessGroup
) -> int:
    """Record how the attempt ended, in the run's folder and for the other ranks.

    Where another rank failed first, its reason is recorded. Returns the exit code.
    """
    state: RunState = "failed"
    cause: Cause | None = None
    if isinstance(error, Stopped):
        code, state, reason = EXIT_STOPPED, "stopped", ""
    elif ending := disk_ending(error, path=folder.path):
        code, state, cause, reason = ending.code, ending.state, ending.cause, ending.reason
        if reporter.job:
            pause_if_shared(ending, folder)
    elif isinstance(error, UserError):
        code, reason = EXIT_USER, str(error)
    elif group.world_size > 1 and is_lost_rank(error):
        code, reason = _reason_of_lost_rank(group)
        state = exit_rule(code).state
        cause = "disk_full" if code == EXIT_DISK_FULL else None
    else:
        text = str(error).splitlines()[0] if str(error) else ""
        code, reason = EXIT_BUG, f"{type(error).__name__}: {text} (see {folder.error.name})"
        traceback.print_exc()
        with contextlib.suppress(OSError):  # reason and log have the error, too
            write_text(folder.error, traceback.format_exc())
    reporter.end(state, reason=reason, cause=cause)
    group.post_exit_reason(code, reason)
    if isinstance(error, Stopped):
        # The first rank to exit ends the others (srun's --kill-on-bad-exit): rank 0 saves before.
        group.wait_for_rank0()
    return code


def _reason_of_lost_rank(group: ProcessGroup) -> tuple[int, str]:
    """Exit code and reason where another rank has ended.

    A rank that was killed posts no reason: the run may then go on, like one that was stopped. SLURM
    reports the highest exit code of all tasks. To let rank 0's code win, the other ranks return 1,
    the lowest failing code.
    """
    if not group.is_rank0:
        return EXIT_BUG, ""
    posted = group.exit_reason_of_others()
    if posted is None:
        lost = f"one of its {group.world_size} processes was lost"
        return EXIT_STOPPED, f"{lost}; it can go on from its last checkpoint"
    rank, code, text = posted
    return code, f"process {rank} of {group.world_size}: {text}"
