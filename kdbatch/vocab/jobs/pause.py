"""`runs/slurm/paused`: why a study pauses whose disk is full; blank while it does not.

A full disk gives no new file its first block. So a submit makes the file, of one block of blanks,
and a worker writes its reason over them.
"""

import contextlib
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.base.command_lines import resume_command
from kdbatch.base.disk_space import problem_of_disk, remedy_of
from kdbatch.base.errors import UserError
from kdbatch.base.reading.regular_files import read_regular

_SIZE_BYTES = 4096


def allow_pause(runs_dir: Path) -> None:
    """Make the file, where there is none."""
    if not _file(runs_dir).exists():
        write_text(_file(runs_dir), " " * _SIZE_BYTES)


def pause(runs_dir: Path, reason: str) -> None:
    """Pause the study. Where the file is missing, it goes on, and each run finds the full disk."""
    text = " ".join(reason.split()).encode(errors="replace")[:_SIZE_BYTES]
    with contextlib.suppress(OSError), _file(runs_dir).open("r+b") as file:
        file.write(text.ljust(_SIZE_BYTES))


def reason_of_pause(runs_dir: Path) -> str:
    """Why the study pauses; empty while it does not."""
    try:
        return read_regular(_file(runs_dir)).decode(errors="replace").strip()
    except OSError:
        return ""


def check_no_pause(runs_dir: Path) -> None:
    """Check that new jobs may be submitted.

    Raises:
        UserError: the study pauses.
    """
    if reason := reason_of_pause(runs_dir):
        raise UserError(pause_line(reason))


def pause_line(reason: str) -> str:
    """The line about a pause, and what ends it."""
    return f"The study pauses: {reason}. {remedy_of(reason)}, then: {resume_command()}"


def end_pause(runs_dir: Path) -> None:
    """Let runs start again.

    Raises:
        UserError: the disk is still full.
    """
    if reason := reason_of_pause(runs_dir):
        if problem := problem_of_disk(runs_dir):
            raise UserError(f"{pause_line(reason)}. Now: {problem}")
        write_text(_file(runs_dir), " " * _SIZE_BYTES)


def _file(runs_dir: Path) -> Path:
    return runs_dir / "slurm" / "paused"
