"""Loads a study: its plans, the state of every run, and everything that was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.report.data.label_ranks import LabelRanks, load_label_ranks
from kdbatch.report.data.recipe_fields import recipe_fields
from kdbatch.report.labels import format_time
from kdbatch.result.read import read_rows
from kdbatch.vocab.done import Done, Provenance, load_done
from kdbatch.vocab.plans.records import Cell, PlanRecord, load_records
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import OUTSIDE, Run
from kdbatch.vocab.status import RunState, Status, is_stale, load_status


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The facts in a run's folder. An unknown number is None, an unknown text is empty."""

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
    done: Done | None = None  # of a run in that state
    num_teachers: int = 0  # of a student
    run: Run | None = None  # with its recipe
    planned_hours: float | None = None  # of its devices together, from its plan

    @cached_property
    def recipe_pairs(self) -> tuple[tuple[str, str], ...] | None:
        """The fields of the recipe by name, as text; None where no recipe can be read."""
        return tuple(recipe_fields(self.run).items()) if self.run else None


@dataclass(frozen=True, kw_only=True)
class MeasuredValue:
    """One number of a run."""

    value: float
    unit: str
    subset: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """All plans, the runs that they name with their ancestors, and the results of those runs.

    `measured` maps (run id, name) to a value, `label_ranks` a run id to its test videos.
    `resampled` is what stats/correctness.py keeps of one experiment.
    """

    runs_dir: Path
    records: tuple[PlanRecord, ...]
    runs: dict[str, RunFacts]
    rows: pl.DataFrame
    measured: dict[tuple[str, str], MeasuredValue]
    label_ranks: dict[str, LabelRanks]
    warnings: tuple[str, ...]
    resampled: dict[tuple[object, ...], Any] = field(default_factory=dict)

    @cached_property
    def done(self) -> dict[str, Done]:
        """The records of the runs that are done, by run id."""
        return {run.run_id: run.done for run in self.runs.values() if run.done}

    def value(self, run_id: str, name: str) -> float | None:
        """Return the number `name` of a run, or None where it is not measured (yet)."""
        measured = self.measured.get((run_id, name))
        return measured.value if measured else None

    def runs_of(self, record: PlanRecord) -> tuple[RunFacts, ...]:
        """Return the runs of one plan and their ancestors, parents first."""
        order: dict[str, None] = {}
        for cell in record.cells:
            _add_with_parents(order, cell.run_id, self.runs)
        return tuple(self.runs[run_id] for run_id in order)


def matching_cells(record: PlanRecord, role: str, case: Mapping[str, str]) -> tuple[Cell, ...]:
    """Return the cells of a role that match a case on all axes that both have."""
    wanted = case.items()
    found = [cells for cells in record.cells_by_case(role) if _agrees(cells[0][1].case, wanted)]
    if len(found) > 1:  # in the order of the plan
        return tuple(cell for _, cell in sorted(chain(*found), key=itemgetter(0)))
    return tuple(cell for cells in found for _, cell in cells)


def _agrees(case: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> bool:
    return all(case.get(axis, value) == value for axis, value in wanted)


def cases_of(record: PlanRecord, role: str) -> list[dict[str, str]]:
    """Return the cases in which a role has runs, each once, in the order of the plan."""
    cells = record.cells_of(role)
    return list({tuple(cell.case.items()): cell.case for cell in cells}.values())


def load_study(runs_dir: Path) -> Study:
    """Read plans, run folders, rows and label ranks.

    Raises:
        UserError: no plan was submitted yet, or a plan is damaged.
    """
    records = sorted(load_records(runs_dir), key=_reading_order)
    warnings: list[str] = []
    runs = _load_runs(runs_dir, records, warnings)
    done = {run.run_id: run.done for run in runs.values() if run.done}
    rows = read_rows(runs_dir, sorted(runs), done=done)
    label_ranks, rank_warnings = load_label_ranks(runs_dir, sorted(runs), done=done)
    warnings += [*rows.warnings, *rank_warnings]
    return Study(
        runs_dir=runs_dir,
        records=tuple(_in_declared_order(record) for record in records),
        runs=runs,
        rows=rows.frame,
        measured=_last_values(rows.frame),
        label_ranks=label_ranks,
        warnings=tuple(warnings),
    )


def _load_runs(
    runs_dir: Path, records: Sequence[PlanRecord], warnings: list[str]
) -> dict[str, RunFacts]:
    """Load the runs that the plans name, then their parents, until no new parent appears."""
    runs: dict[str, RunFacts] = {}
    recorded = {run.id: run for record in records for run in record.runs}
    to_load = [cell.run_id for record in records for cell in record.cells]
    while to_load:
        run_id = to_load.pop()
        if run_id not in runs:
            facts = load_run_facts(RunFolder(runs_dir / run_id), warnings)
            if facts.state == "unreadable" and (known := recorded.get(run_id)):
                facts = replace(facts, title=known.title, kind=known.kind)
            if facts.state == "missing" and run_id in recorded and recorded[run_id].kind == OUTSIDE:
                facts = replace(facts, title=recorded[run_id].title, kind=OUTSIDE, state="planned")
            if run_id in recorded:
                facts = replace(facts, planned_hours=recorded[run_id].device_hours)
            runs[run_id] = facts
            to_load += facts.parents
    return runs


def _last_values(rows: pl.DataFrame) -> dict[tuple[str, str], MeasuredValue]:
    """Return the finite values by (run id, name); of several steps the last one."""
    finite = rows.filter(pl.col("value").is_finite()).sort("step", maintain_order=True)
    columns = finite.select("run_id", "name", "value", "unit", "subset")
    return {
        (run_id, name): MeasuredValue(value=value, unit=unit or "", subset=subset or "")
        for run_id, name, value, unit, subset in columns.iter_rows()
    }


def _reading_order(record: PlanRecord) -> tuple[str, str, str]:
    """Sort key: experiments come in the order of their first tables, as in a paper."""
    return (record.tables[0].id if record.tables else "", record.experiment, record.profile)


def _in_declared_order(record: PlanRecord) -> PlanRecord:
    """Sort axes as the tables' columns name them, and roles as the tables' rows do.

    The order of the tables is made for readers; that of the job file need not be.
    """
    axes = _in_order_of([a for t in record.tables for a in t.columns], record.axes)
    roles = _in_order_of([r for t in record.tables for r in t.rows], record.roles)
    cells = []
    for cell in record.cells:
        case = {axis: cell.case[axis] for axis in _in_order_of(axes, cell.case)}
        cells.append(replace(cell, case=case))
    return replace(
        record,
        axes={axis: record.axes[axis] for axis in axes},
        roles={role: record.roles[role] for role in roles},
        cells=tuple(cells),
    )


def _in_order_of(first: Iterable[str], names: Mapping[str, object]) -> list[str]:
    """Return all of `names`: those that are in `first`, in its order, then the others."""
    return [name for name in dict.fromkeys([*first, *names]) if name in names]


def load_run_facts(folder: RunFolder, warnings: list[str]) -> RunFacts:
    """Read a run's folder; a damaged or unreadable file adds a line to `warnings`."""
    damage: list[str] = []
    try:
        done = load_done(folder.done, warn=damage.append) if folder.is_done() else None
        is_damaged = bool(damage) and done is None
        # The record of a finished run has all that its status has.
        status = None if done and done.attempts and done.seconds else load_status(folder.status)
        assignment = _assignment(folder, damage)
        is_damaged = is_damaged or (assignment is None and folder.has_assignment())
        state = "done" if done else _run_state(folder, status, assignment)
        state = "damaged" if is_damaged else state
    except UnreadableError as error:
        warnings.append(f"{folder.id} is not in the report: {error}")
        return _unreadable_facts(folder, str(error))
    warnings += damage
    reason = status.reason if status and state != "done" else ""
    return RunFacts(
        run_id=folder.id,
        kind=(assignment.run.recipe.kind if assignment else done and done.kind) or "unknown",
        title=(assignment.title if assignment else done and done.title) or folder.id,
        seed=assignment.run.seed if assignment else None,
        parents=assignment.run.parents if assignment else (),
        state=state,
        reason=damage[0] if is_damaged else reason,
        attempts=(done.attempts if done else None) or (status.attempt if status else None),
        device_hours=_device_hours(state, done, status),
        finished_at=format_time(done.finished_at if done else None),
        provenance=done.provenance if done else Provenance(),
        done=done if state == "done" else None,
        num_teachers=_num_teachers(assignment),
        run=assignment.run if assignment else None,
    )


def _num_teachers(assignment: Assignment | None) -> int:
    if assignment is None or assignment.run.recipe.kind != "distill":
        return 0
    return len(assignment.run.teachers)


def _unreadable_facts(folder: RunFolder, reason: str) -> RunFacts:
    return RunFacts(
        run_id=folder.id,
        kind="unknown",
        title=folder.id,
        seed=None,
        parents=(),
        state="unreadable",
        reason=reason,
        attempts=None,
        device_hours=None,
        finished_at="",
        provenance=Provenance(),
    )


def _device_hours(state: RunState, done: Done | None, status: Status | None) -> float | None:
    """Return the device-hours of done.json; without them the hours that the run has taken."""
    if done and done.device_hours is not None:
        return done.device_hours
    seconds = done.seconds if done else None
    if state != "done" and status and status.seconds:
        seconds = status.seconds
    return None if seconds is None else seconds / 3600


def _run_state(folder: RunFolder, status: Status | None, assignment: Assignment | None) -> RunState:
    """Return the state of a run. Only done.json makes it `done`.

    A status of `done` without done.json means that the end of the run was lost: it is `stopped`.
    """
    if folder.is_done():
        return "done"
    if status is None:
        return "planned" if assignment else "missing"
    if is_stale(folder.status, status):
        return "stale"
    return "stopped" if status.state == "done" else status.state


def _assignment(folder: RunFolder, warnings: list[str]) -> Assignment | None:
    """Return the run's assignment; None where it is missing, or damaged, which is a warning."""
    try:
        return folder.load()
    except UnreadableError:
        raise
    except UserError as error:
        if folder.has_assignment():
            warnings.append(str(error))
        return None


def _add_with_parents(
    order: dict[str, None],
    run_id: str,
    runs: Mapping[str, RunFacts],
    *,
    above: tuple[str, ...] = (),
) -> None:
    """Add a run to `order` after its parents.

    `above` holds the descendants on the way here: it ends the recursion in a cycle, which no
    planner writes but a damaged file may contain.
    """
    for parent in runs[run_id].parents:
        if parent not in order and parent not in above:
            _add_with_parents(order, parent, runs, above=(*above, run_id))
    order.setdefault(run_id)
