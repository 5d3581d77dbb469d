"""The state of every run, from the files of its folder and of its job; no worker is disturbed."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.run_folders import run_entries, submissions_dir
from kdbatch.launch.saved_plans import recorded_runs
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.slurm.submissions import Submission, last_submissions
from kdbatch.launch.states.job_states import add_job_states, with_live_queue
from kdbatch.launch.states.run_row import RunRow
from kdbatch.launch.states.seen_runs import SeenRun, SeenRuns, see
from kdbatch.vocab.plans.records import PlanRecord, RecordedRun, find_records
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import RUN_ID
from kdbatch.vocab.status import RunState

_ENDED: tuple[RunState, ...] = ("failed", "blocked", "lost", "damaged", "unreadable")


def load_run_rows(
    runs_dir: Path, *, live: QueueAnswer | None = None, only: RunFolder | None = None
) -> tuple[RunRow, ...]:
    """One look of a RunWatcher at all runs, or at `only` one."""
    return RunWatcher(runs_dir).look(live=live, only=only)


class RunWatcher:
    """Looks at the runs again and again. A settled run is read once; a run that moves costs one
    call of the file system a look, for its status.json.
    """

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir, self._seen = runs_dir, SeenRuns()

    def look(
        self, *, live: QueueAnswer | None = None, only: RunFolder | None = None
    ) -> tuple[RunRow, ...]:
        """A row for each run folder and for each run of a submitted plan, or for `only` one, sorted
        by title.

        `live` is the queue of the scheduler; None where it was not asked. With it, a queued run
        whose job has left the queue is known not to have started; the reason for that, or for the
        loss of a run, is in its job's script or in the accounting, if the site has one. A run that
        a live local queue will start is queued. A run whose folder cannot be read has a row with
        the reason.

        Raises:
            UserError: the folder of the runs, of the plans or of the submissions cannot be read.
        """
        waiting = {run_id for queue in live_queues(self._runs_dir) for run_id in queue.waiting}
        submissions = last_submissions(submissions_dir(self._runs_dir))
        inodes = {only.id: 0} if only else run_entries(self._runs_dir)
        folders = {run_id: RunFolder(self._runs_dir / run_id) for run_id in inodes}
        self._seen.begin_look(folders, waiting)
        assignments: dict[str, Assignment] = {}
        rows: dict[str, RunRow] = {}
        for run_id, folder in folders.items():
            found = self._row_of(folder, inodes[run_id], submissions.get(run_id))
            if isinstance(found, RunRow):
                rows[run_id] = found
            elif found:
                rows[run_id], assignments[run_id] = found.row, found.assignment
        add_job_states(rows, assignments, submissions, runs_dir=self._runs_dir, live=live)
        for run_id in waiting & assignments.keys():
            rows[run_id] = with_live_queue(rows[run_id])
        if only is None:
            records = find_records(self._runs_dir)
            rows |= _outside_rows(records, self._runs_dir)
            rows |= _rows_of_plans(records, rows, assignments)
        for run_id in assignments:
            _block_if_parent_ended(run_id, assignments, rows)
        return tuple(sorted(rows.values(), key=lambda row: (row.title, row.run_id)))

    def _row_of(
        self, folder: RunFolder, inode: int, submission: Submission | None
    ) -> SeenRun | RunRow | None:
        """The run, or only a row if its files are no use; None where it has no run.json."""
        seen = self._seen.get(folder.id, inode, submission)
        if seen and seen.is_unchanged(folder):
            return seen
        try:
            seen = see(folder, inode=inode, submission=submission, known=seen)
        except UnreadableError as error:
            is_run = RUN_ID.fullmatch(folder.id) is not None
            return _unusable(folder, "unreadable", str(error)) if is_run else None
        except UserError as error:
            is_there = folder.has_assignment()
            return _unusable(folder, "damaged", str(error)) if is_there else None
        self._seen.remember(folder.id, seen)
        return seen


def _unusable(folder: RunFolder, state: RunState, reason: str) -> RunRow:
    return RunRow(run_id=folder.id, title="", kind="", state=state, reason=reason)


def of_submitted_plans(rows: Sequence[RunRow], runs_dir: Path) -> tuple[RunRow, ...]:
    """The rows of runs that a submitted plan needs, which are what `kdbatch resume` starts.

    A plan of an older version does not name all of them: then these are all rows.
    """
    records = find_records(runs_dir)
    if not all(record.runs for record in records):
        return tuple(rows)
    needed = {run.id for record in records for run in record.runs}
    return tuple(row for row in rows if row.run_id in needed)


def _outside_rows(records: Sequence[PlanRecord], runs_dir: Path) -> dict[str, RunRow]:
    """The rows of runs that another trainer makes, which have results and no run.json."""
    return {
        run.id: RunRow(
            run_id=run.id,
            title=run.title,
            kind=run.kind,
            state="done" if RunFolder(runs_dir / run.id).is_known_done() else "planned",
            reason="another trainer makes it",
        )
        for record in records
        if record.is_outside
        for run in record.runs
    }


def _rows_of_plans(
    records: Sequence[PlanRecord],
    rows: Mapping[str, RunRow],
    assignments: Mapping[str, Assignment],
) -> dict[str, RunRow]:
    """The rows of runs that submitted plans need and that have none, as their folders are gone; and
    with their titles those that cannot be read.
    """
    needed = {run.id: run for record in records for run in recorded_runs(record)}
    named = {
        run_id: dataclasses.replace(row, title=needed[run_id].title, kind=needed[run_id].kind)
        for run_id, row in rows.items()
        if row.state == "unreadable" and run_id in needed
    }
    to_visit = list(needed)
    for run_id in to_visit:  # plans of older versions do not name all parents
        for parent in assignments[run_id].run.parents if run_id in assignments else ():
            if parent not in needed:
                needed[parent] = RecordedRun(id=parent, title=f"parent of {run_id}", kind="")
                to_visit.append(parent)
    return named | {
        run.id: RunRow(
            run_id=run.id,
            title=run.title,
            kind=run.kind,
            state="missing",
            reason="its folder was deleted",
        )
        for run in needed.values()
        if run.id not in rows
    }


def rows_as_json(rows: tuple[RunRow, ...]) -> list[dict[str, Any]]:
    """The rows as plain values, one mapping per run."""
    return [dataclasses.asdict(row) for row in rows]


def _block_if_parent_ended(
    run_id: str, assignments: dict[str, Assignment], rows: dict[str, RunRow]
) -> None:
    """Mark a run that has not begun as blocked if one of its parents has ended badly or is itself
    blocked.
    """
    if rows[run_id].state not in ("planned", "queued"):
        return
    for parent in assignments[run_id].run.parents:
        if parent in assignments:
            _block_if_parent_ended(parent, assignments, rows)
        if parent in rows and rows[parent].state in _ENDED:
            reason = f"parent {parent} is {rows[parent].state}"
            rows[run_id] = dataclasses.replace(rows[run_id], state="blocked", reason=reason)
            return
