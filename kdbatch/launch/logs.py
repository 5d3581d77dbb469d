"""Finds a run by the beginning of its id, and reads what it and its job have printed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.command_lines import status_command
from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.folders.presence import is_present
from kdbatch.base.reading.regular_files import open_regular
from kdbatch.launch.run_folders import all_run_ids, submissions_dir
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.vocab.runs.folder import RunFolder

POLL_SECONDS = 0.5
TAIL_BYTES = 1 << 20  # read from the end of a long log, for its last lines


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The last lines of a log, and the log's size in bytes."""

    lines: tuple[str, ...]
    size: int


def find_run(runs_dir: Path, id_prefix: str) -> RunFolder:
    """The one run whose id begins with `id_prefix`; the r in front may be left out.

    Raises:
        UserError: no run, or several, or (UnreadableError) the folder of the runs cannot be read.
    """
    ids = all_run_ids(runs_dir)
    if id_prefix in ids:
        return RunFolder(runs_dir / id_prefix)
    prefixes = (id_prefix, f"r{id_prefix}")
    matches = [run_id for run_id in ids if run_id.startswith(prefixes)] if id_prefix else []
    if len(matches) == 1:
        return RunFolder(runs_dir / matches[0])
    if matches:
        examples = ", ".join(matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise UserError(
            f"{id_prefix!r} matches {len(matches)} runs ({examples}). Type more characters."
        )
    raise UserError(
        f"no run ID in {runs_dir}/ starts with {id_prefix!r}. List them: {status_command()}"
    )


def read_last_lines(runs_dir: Path, folder: RunFolder, *, num_lines: int) -> Tail:
    """The end of the run's log; where the worker has not written one, of its job's. 0 lines means
    all.

    Raises:
        UserError: `num_lines` is below 0, or (UnreadableError) the log cannot be read.
    """
    if num_lines < 0:
        raise UserError(f"--lines: found {num_lines}. Write how many, or 0 for all.")
    size, text = read_end(folder.log, whole=not num_lines)
    if not text and (submission := last_submissions(submissions_dir(runs_dir)).get(folder.id)):
        for stem in dict.fromkeys((submission.stem, submission.folder / submission.job_id)):
            job_log = stem.with_name(f"{stem.name}_0_log.err")
            text = text or read_end(job_log, whole=not num_lines)[1]
    return Tail(lines=tuple(text.splitlines()[-num_lines:]), size=size)


def follow(folder: RunFolder, *, start: int, is_over: Callable[[], bool]) -> Iterator[str]:
    """Yield what is appended to the run's log after its first `start` bytes, in whole lines, until
    the run is over and everything was yielded.
    """
    rest = b""
    while True:
        over = is_over()  # before reading, so that the last lines are not missed
        if is_present(folder.log):
            with open_regular(folder.log) as file:
                file.seek(start)
                added = file.read()
            start += len(added)
            whole, newline, rest = (rest + added).rpartition(b"\n")
            if newline:
                yield whole.decode(errors="replace")
        if over:
            if rest:
                yield rest.decode(errors="replace")
            return
        time.sleep(POLL_SECONDS)


def read_end(path: Path, *, whole: bool) -> tuple[int, str]:
    """The size of a file, and its last TAIL_BYTES or the `whole` of it as text; 0 and "" where
    there is no file.
    """
    if not is_present(path):
        return 0, ""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0 if whole else max(0, size - TAIL_BYTES))
            return size, file.read(size).decode(errors="replace")
    except OSError as error:
        raise unreadable(path, error) from error
