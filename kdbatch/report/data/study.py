"""Loads a study: its plans, the state of every run, and everything that was measured."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import polars as pl

from kdbatch.report.data.label_ranks import LabelRanks, load_label_ranks
from kdbatch.report.data.run_facts import RunFacts, load_run_facts
from kdbatch.result.read import read_rows
from kdbatch.vocab.done import Done
from kdbatch.vocab.plans.records import Cell, PlanRecord, load_records
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import OUTSIDE


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
