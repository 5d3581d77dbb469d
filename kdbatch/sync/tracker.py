"""Brings a tracker up to date with the run folders, without writing any point twice.

A tracker keeps a Mark of each run: how far it has it. Only later steps are written. Points of a run
that goes on from an earlier step were written before, and are not written again.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.progress import Progress
from kdbatch.base.reading.field_facts import Limits
from kdbatch.sync.snapshot import CurvePoint, RunSnapshot, has_started, load_labels, load_snapshot
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState

PROGRESS = "progress_percent"
"""The curve of a run's progress: one point per sync, so that an epoch of hours is seen to move."""


Step = Annotated[int, Limits("steps", least=-1, most=10**15)]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How far a tracker has a run: the last steps of its curves and of its progress.

    `state` is the last state that was written; empty where the tracker does not have the run.
    `complete`: the final numbers were written, too, and nothing is left to do.
    """

    step: Step = -1
    progress_step: Step = -1
    state: str = ""
    complete: bool = False


NO_MARK = Mark()
"""The mark of a run that a tracker does not have."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """The news of a run for a tracker; `mark` is the tracker's mark after it.

    `is_first`: the tracker does not have the run yet. `measures` are the final numbers, or empty.
    """

    run: RunSnapshot
    points: tuple[CurvePoint, ...]
    measures: Mapping[str, float]
    mark: Mark
    is_first: bool


class Tracker(Protocol):
    """A place that shows runs. It is used by one process at a time, under `lock`."""

    @property
    def lock(self) -> Path | None:
        """The lock file of this place; None if it has no folder on this machine."""
        ...

    def open(self) -> None:
        """Find out what it has; called once, under the lock."""
        ...

    def load_mark(self, run_id: str) -> Mark: ...

    def write(self, update: Update) -> None:
        """Write the points, then the mark: after an interruption no point is there twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class SyncSummary:
    """`total` runs have started; `updated` of them had news. `waiting` have not started."""

    total: int
    updated: int
    waiting: int
    warnings: tuple[str, ...]


def sync_runs(
    runs_dir: Path, states: Mapping[str, RunState], tracker: Tracker, *, progress: Progress
) -> SyncSummary:
    """Write the news of all runs to the tracker; `states` has the state of each run, by id.

    A run whose folder or `run.json` cannot be read costs a warning.
    """
    tracker.open()
    labels = load_labels(runs_dir)
    folders = [RunFolder(runs_dir / run_id) for run_id in states]
    warnings: list[str] = []
    started: list[RunFolder] = []
    for folder in folders:
        try:
            started += [folder] if has_started(folder) else []
        except UnreadableError as error:
            warnings.append(str(error))
    num_unreadable = len(warnings)
    updated = 0
    for number, folder in enumerate(started, 1):
        mark, state = tracker.load_mark(folder.id), states[folder.id]
        if not (mark.complete and mark.state == state):
            try:
                snapshot = load_snapshot(folder, state, labels)
            except UserError as error:
                warnings.append(str(error))
                continue
            warnings += snapshot.warnings
            if update := news(snapshot, mark):
                tracker.write(update)
                updated += 1
        progress(number, len(started), folder.id)
    return SyncSummary(
        total=len(started),
        updated=updated,
        waiting=len(folders) - len(started) - num_unreadable,
        warnings=tuple(warnings),
    )


def news(run: RunSnapshot, mark: Mark) -> Update | None:
    """The points and numbers of a run that a tracker with this mark lacks; None if it has all."""
    points = [point for point in run.curves if point.step > mark.step]
    after = replace(mark, state=run.state)
    if points:
        after = replace(after, step=points[-1].step)
    if run.status.num_steps > 0 and run.status.step > mark.progress_step:
        points.append(_progress(run))
        after = replace(after, progress_step=run.status.step)
    measures: Mapping[str, float] = {}
    if run.state == "done" and not mark.complete and not run.warnings:
        measures, after = run.measures, replace(after, complete=True)
    if after == mark:
        return None
    return Update(
        run=run, points=tuple(points), measures=measures, mark=after, is_first=not mark.state
    )


def _progress(run: RunSnapshot) -> CurvePoint:
    status = run.status
    percent = 100 * status.step / status.num_steps
    return CurvePoint(name=PROGRESS, step=status.step, value=percent, at=status.heartbeat_at)


@contextlib.contextmanager
def translate_tracker_errors(package: str, target: str) -> Iterator[None]:
    """Turn an error of a tracker's library into a UserError of one line."""
    try:
        yield
    except (UserError, OSError, KeyboardInterrupt):
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = first if len(first) <= 200 else f"{first[:197]}..."
        raise UserError(
            f"{target}: {package} reports: {message} "
            f"When that is corrected, type the same command again: it adds what is missing."
        ) from error


def missing_library(package: str) -> UserError:
    """The error where a tracker's library is not installed."""
    return UserError(
        f"sync {package}: this needs {package}, which is not installed here. "
        f"Install it: pip install 'kdbatch[{package}]'"
    )
