"""`runs/slurm/limit`: the limit on the number of jobs that the last submit has met."""

import contextlib
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.base.reading.regular_files import read_regular


def note_job_limit(runs_dir: Path, name: str) -> None:
    """Note the limit that SLURM has named; an empty name where all was handed over."""
    if name != met_job_limit(runs_dir):
        with contextlib.suppress(OSError):  # only status asks for it
            write_text(_file(runs_dir), name)


def met_job_limit(runs_dir: Path) -> str:
    """The limit that the last submit has met; empty where it met none."""
    try:
        return read_regular(_file(runs_dir)).decode(errors="replace").strip()
    except OSError:
        return ""


def _file(runs_dir: Path) -> Path:
    return runs_dir / "slurm" / "limit"
