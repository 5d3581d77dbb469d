"""Remembers runs between two looks of a watcher, which then reads only what may have changed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import unreadable
from kdbatch.base.folders.presence import Identity, identity_of
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.launch.states.run_row import RunRow, run_row
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.status import RunState

SETTLED: tuple[RunState, ...] = ("done", "failed", "blocked", "planned")
"""States that a run leaves only when it is submitted, or when a person changes its folder."""
WAITING: tuple[RunState, ...] = ("queued", "stopped")
"""States that a run leaves when its worker writes a status."""
LOOKS_PER_ROUND, MAX_CHECKS = 30, 50
"""After how many looks every settled run was checked once more, and how many a look checks at most.
"""


@dataclass(frozen=True, kw_only=True)
class SeenRun:
    """A run as it was read. `inode` is that of its folder's entry, `submission` its last one.
    `mark` is the identity of done.json of a run that is done, and of status.json of others.
    """

    inode: int
    submission: Submission | None
    assignment: Assignment
    row: RunRow
    mark: Identity | None

    def is_unchanged(self, folder: RunFolder) -> bool:
        """Whether nothing needs to be read again; asks the file system only where the run waits."""
        state = self.row.state
        return state in SETTLED or (state in WAITING and self.mark == _mark(folder.status))

    def has_new_files(self, folder: RunFolder) -> bool:
        """Whether a settled run has another done.json or status.json than it had."""
        path = folder.done if self.row.state == "done" else folder.status
        return self.mark != _mark(path)


def see(
    folder: RunFolder, *, inode: int, submission: Submission | None, known: SeenRun | None
) -> SeenRun:
    """Read a run; of one that is `known` only what may have changed.

    Raises:
        UserError: its run.json is damaged, or (UnreadableError) something cannot be read.
    """
    try:
        if known:
            assignment, done = known.assignment, None
        else:
            assignment, done = folder.load(), identity_of(folder.done)
        state: RunState | None = "done" if done else None
        row = run_row(folder, assignment, submission=submission, state=state)
    except OSError as error:  # its lock
        raise unreadable(Path(error.filename or folder.path), error) from error
    if row.state == "done":
        mark = done or _mark(folder.done)
    else:
        mark = _mark(folder.status) if row.state in (*SETTLED, *WAITING) else None
    return SeenRun(inode=inode, submission=submission, assignment=assignment, row=row, mark=mark)


def _mark(path: Path) -> Identity | None:
    """The identity of a file, with one call; None where it is missing or cannot be read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


class SeenRuns:
    """The runs that were read before, by id."""

    def __init__(self) -> None:
        self._runs: dict[str, SeenRun] = {}
        self._to_check: list[str] = []
        self._waiting: frozenset[str] = frozenset()

    def begin_look(self, folders: Mapping[str, RunFolder], waiting: Collection[str]) -> None:
        """Forget runs without a folder, those that a local queue has taken up (`waiting`), and
        those that a check finds changed. Every look checks a few of the settled runs, in turn.
        """
        for run_id in (self._runs.keys() - folders.keys()) | self._waiting | set(waiting):
            self._runs.pop(run_id, None)
        self._waiting = frozenset(waiting)
        if not self._to_check:
            self._to_check = [i for i, run in self._runs.items() if run.row.state in SETTLED]
        num_checks = min(MAX_CHECKS, -(-len(self._runs) // LOOKS_PER_ROUND))
        now, self._to_check = self._to_check[:num_checks], self._to_check[num_checks:]
        for run_id in now:
            if run_id in self._runs and self._runs[run_id].has_new_files(folders[run_id]):
                del self._runs[run_id]

    def get(self, run_id: str, inode: int, submission: Submission | None) -> SeenRun | None:
        """The run, if its folder and its submission are those with which it was read."""
        seen = self._runs.get(run_id)
        is_same = seen is not None and (seen.inode, seen.submission) == (inode, submission)
        return seen if is_same else None

    def remember(self, run_id: str, seen: SeenRun) -> None:
        """Keep the run for the next look."""
        self._runs[run_id] = seen
