"""Everything the report needs to know of a study, read once: plans, the state of every run, and
what was measured.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from kdbatch.base.errors import UserError
from kdbatch.report.data.label_ranks import LabelRanks, load_label_ranks
from kdbatch.report.labels import format_time
from kdbatch.result.read import read_rows
from kdbatch.vocab.done import Done, Provenance, load_done
from kdbatch.vocab.plans import Cell, PlanRecord, load_records
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import Status, load_status

RunState = Literal[
    "done", "running", "stalled", "stopped", "queued", "failed", "blocked", "not started"
]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run's folder says of it. Numbers are None, texts empty, where the folder does not say."""

    run_id: str
    kind: str
    title: str
    seed: int | None
    parents: tuple[str, ...]
    state: RunState
    reason: str
    attempts: int | None
    device_hours: float | None
    finished_at: str
    provenance: Provenance


@dataclass(frozen=True, kw_only=True)
class MeasuredValue:
    """One number of a run."""

    value: float
    unit: str
    subset: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """All plans, all runs they name and their ancestors, all rows, all test videos."""

    runs_dir: Path
    records: tuple[PlanRecord, ...]
    runs: dict[str, RunFacts]
    rows: pl.DataFrame
    measured: dict[tuple[str, str], MeasuredValue]
    label_ranks: dict[str, LabelRanks]
    warnings: tuple[str, ...]

    def value(self, run_id: str, name: str) -> float | None:
        """The number called `name` that a run measured, None where there is none (yet)."""
        found = self.measured.get((run_id, name))
        return found.value if found else None

    def runs_of(self, record: PlanRecord) -> tuple[RunFacts, ...]:
        """The runs of one plan and their ancestors, parents first."""
        order: dict[str, None] = {}
        for cell in record.cells:
            _add_with_parents(order, cell.run_id, self.runs)
        return tuple(self.runs[run_id] for run_id in order)


def matching_cells(record: PlanRecord, role: str, case: Mapping[str, str]) -> tuple[Cell, ...]:
    """The cells of a role in a case. An axis that one of the two does not have is no difference."""
    return tuple(
        c
        for c in record.cells
        if c.role == role and all(c.case.get(axis, value) == value for axis, value in case.items())
    )


def load_study(runs_dir: Path) -> Study:
    """Read plans, run folders and rows.

    Raises:
        UserError: no plan was submitted yet, or a plan is damaged.
    """
    records = tuple(
        _in_declared_order(record) for record in sorted(load_records(runs_dir), key=_reading_order)
    )
    runs: dict[str, RunFacts] = {}
    warnings: list[str] = []
    waiting = [cell.run_id for record in records for cell in record.cells]
    while waiting:
        run_id = waiting.pop()
        if run_id not in runs:
            runs[run_id] = load_run_facts(RunFolder(runs_dir / run_id), warnings)
            waiting += runs[run_id].parents
    scan = read_rows(runs_dir, sorted(runs))
    measured = {
        (row["run_id"], row["name"]): MeasuredValue(
            value=row["value"], unit=row["unit"] or "", subset=row["subset"] or ""
        )
        for row in scan.frame.sort("step", maintain_order=True).iter_rows(named=True)
        if row["value"] is not None and math.isfinite(row["value"])
    }
    places, complaints = load_label_ranks(runs_dir, sorted(runs))
    warnings += [*scan.warnings, *complaints]
    return Study(
        runs_dir=runs_dir,
        records=records,
        runs=runs,
        rows=scan.frame,
        measured=measured,
        label_ranks=places,
        warnings=tuple(warnings),
    )


def _reading_order(record: PlanRecord) -> tuple[str, str, str]:
    """Experiments come in the order of their first tables, as in a paper."""
    return (record.tables[0].id if record.tables else "", record.experiment, record.profile)


def _in_declared_order(record: PlanRecord) -> PlanRecord:
    """Axes as the tables' columns name them, roles as their rows do: that order is meant for
    readers, that of the job file need not be.
    """
    axes = _in_order_of([a for t in record.tables for a in t.columns], record.axes)
    roles = _in_order_of([r for t in record.tables for r in t.rows], record.roles)
    cells = tuple(
        replace(c, case={a: c.case[a] for a in _in_order_of(axes, c.case)}) for c in record.cells
    )
    return replace(
        record,
        axes={a: record.axes[a] for a in axes},
        roles={r: record.roles[r] for r in roles},
        cells=cells,
    )


def _in_order_of(first: Iterable[str], names: Mapping[str, object]) -> list[str]:
    """All of `names`, those in `first` in its order."""
    return [name for name in dict.fromkeys([*first, *names]) if name in names]


def load_run_facts(folder: RunFolder, warnings: list[str]) -> RunFacts:
    """What the folder says of its run; what it should say and does not is added to `warnings`."""
    done = load_done(folder.done, warn=warnings.append)
    status = load_status(folder.status)
    kind, title, seed, parents = _assignment(folder, warnings)
    return RunFacts(
        run_id=folder.id,
        kind=kind or (done.kind if done else "") or "unknown",
        title=title or (done.title if done else "") or folder.id,
        seed=seed,
        parents=parents,
        state=_run_state(folder, status),
        reason=status.reason if status and not folder.is_done() else "",
        attempts=(done.attempts if done else None) or (status.attempt if status else None),
        device_hours=_device_hours(folder, done, status),
        finished_at=format_time(done.finished_at if done else None),
        provenance=done.provenance if done else Provenance(),
    )


def _device_hours(folder: RunFolder, done: Done | None, status: Status | None) -> float | None:
    """Hours of devices as recorded; where they are not, the seconds of one device."""
    if done and done.device_hours is not None:
        return done.device_hours
    seconds = done.seconds if done else None
    if not folder.is_done() and status and status.seconds:
        seconds = status.seconds
    return None if seconds is None else seconds / 3600


def _run_state(folder: RunFolder, status: Status | None) -> RunState:
    """done.json alone says done: a status of `done` without it is a run whose end was lost."""
    if folder.is_done():
        return "done"
    if status is None:
        return "not started"
    if status.is_stale():
        return "stalled"
    return "stopped" if status.state == "done" else status.state  # pyright: ignore[reportReturnType] - a worker writes no other


def _assignment(
    folder: RunFolder, warnings: list[str]
) -> tuple[str, str, int | None, tuple[str, ...]]:
    if not folder.assignment.exists():
        return "", "", None, ()
    try:
        assignment = folder.load()
    except UserError as error:
        warnings.append(str(error))
        return "", "", None, ()
    return assignment.run.recipe.kind, assignment.title, assignment.run.seed, assignment.run.parents


def _add_with_parents(
    order: dict[str, None],
    run_id: str,
    runs: Mapping[str, RunFacts],
    *,
    above: tuple[str, ...] = (),
) -> None:
    """Parents first. `above` ends a circle, which no planner makes but a damaged file may."""
    for parent in runs[run_id].parents:
        if parent not in order and parent not in above:
            _add_with_parents(order, parent, runs, above=(*above, run_id))
    order.setdefault(run_id)
