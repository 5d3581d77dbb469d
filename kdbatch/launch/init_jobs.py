"""`kdbatch init`: writes the experiments and profiles that come with kdbatch into `jobs/`."""

from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.plan.shipped_jobs import SHIPPED_JOBS, shipped_files


@dataclass(frozen=True, kw_only=True)
class WrittenJobs:
    """The files that were missing and are written, and those that are kept because they differ from
    what this version brings.
    """

    written: tuple[Path, ...]
    kept: tuple[Path, ...]


def write_jobs(folder: Path) -> WrittenJobs:
    """Write the files that `folder` lacks. A file that exists is never changed."""
    written, kept = [], []
    for name in shipped_files():
        text, path = (SHIPPED_JOBS / name).read_text(encoding="utf-8"), folder / name
        if not path.exists():
            write_text(path, text)
            written.append(path)
        elif path.read_bytes() != text.encode():
            kept.append(path)
    return WrittenJobs(written=tuple(written), kept=tuple(kept))
