"""Fills a declared table: rows are roles, columns are cases, each cell counts its seeds."""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from kdbatch.report.data.published import find_published
from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.labels import (
    MINUS,
    NO_VALUE,
    RoleGroup,
    format_number,
    metric_title,
    role_group,
)
from kdbatch.report.tables.folds import fold_sentences
from kdbatch.vocab.plans.declarations import Table
from kdbatch.vocab.plans.records import Cell, PlanRecord

# Measured by every distill run on its own teachers; printed below a table of the same metric.
ENSEMBLE_ROWS: dict[str, dict[str, str]] = {
    "top1": {
        "teacher_ensemble_top1": "Teachers' ensemble",
        "teacher_oracle_top1": "Any teacher right",
    },
}


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """Mean and standard deviation (n - 1) over the `num_done` of `num_planned` seeds.

    The mean is None without a seed, the standard deviation with fewer than two. `run_ids` are the
    planned runs.
    """

    mean: float | None
    sd: float | None
    num_done: int
    num_planned: int
    is_best: bool = False
    run_ids: tuple[str, ...] = ()

    @property
    def is_partial(self) -> bool:
        return 0 < self.num_done < self.num_planned

    @property
    def text(self) -> str:
        if self.mean is None:
            return NO_VALUE
        text = format_number(self.mean)
        if self.sd is not None:
            text += f" ± {format_number(self.sd)}"
        if self.is_partial:
            text += f" ({self.num_done} of {self.num_planned})"
        return text


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One role across all columns."""

    role: str
    title: str
    group: RoleGroup
    cells: tuple[GridCell, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table with its numbers.

    Each of `columns` maps axis to value, outermost axis first. `unit` is the unit of all numbers,
    `sources` names the sources of the published ones, `folds` are those of each column,
    `titles` the plan's own titles of values.
    """

    table: Table
    columns: tuple[dict[str, str], ...]
    rows: tuple[GridRow, ...]
    unit: str
    sources: tuple[str, ...] = ()
    folds: tuple[tuple[int, ...], ...] = ()
    titles: dict[str, str] = field(default_factory=dict)

    @property
    def num_seeds(self) -> int:
        """The largest number of planned seeds of a cell."""
        return max((cell.num_planned for row in self.rows for cell in row.cells), default=0)

    @property
    def caption(self) -> str:
        """One or more sentences that explain the numbers."""
        spread = "one seed"
        if self.num_seeds > 1:
            spread = f"mean ± standard deviation over {self.num_seeds} seeds"
        metric = f"{metric_title(self.table.metric)} in {self.unit}"
        sentences = [f"{metric}, {spread}.", *self._bold_sentences()]
        sentences += fold_sentences(self.columns, self.folds, self.titles)
        own_rows = [row for row in self.rows if row.group != "published"]
        planned = [cell for row in own_rows for cell in row.cells if cell.num_planned]
        if any(cell.mean is None for cell in planned):
            sentences.append(f"{NO_VALUE}: not measured yet.")
        if any(cell.is_partial for cell in planned):
            sentences.append("(n of N): seeds so far.")
        if self.sources:
            sources = "; ".join(self.sources)
            of_fold = ", fold 1" if set(self.folds) - {(1,)} else ""
            sentences.append(f"Published{of_fold}: {sources}. The final versions may differ.")
        return " ".join([*sentences, self.table.note]).strip()

    def _bold_sentences(self) -> Iterator[str]:
        columns = list(zip(*(row.cells for row in self.rows), strict=True))
        num_best = [sum(cell.is_best for cell in column) for column in columns]
        if any(num_best):
            tied = ", several where they tie" if max(num_best) > 1 else ""
            whole = "" if all(num_best) else "; none where a row is missing or all tie"
            yield f"Bold: best of its column{tied}{whole}."


def fill_grid(record: PlanRecord, table: Table, study: Study, *, published: bool = False) -> Grid:
    """Fill a table with the numbers that are measured.

    `published` adds the source's own numbers below them, except where the profile has a note: such
    a scale cannot be compared with the source.
    """
    columns = _columns(record, table)
    rows = []
    for role in table.rows:
        group = role_group(role, record.references)
        rows.append(_row(record, role, columns, table.metric, study, group=group))
    published_rows, sources = [], ()
    if published and not record.note:
        published_rows, sources = _published_rows(record, table, columns)
    return Grid(
        table=table,
        columns=columns,
        rows=(
            *_mark_best(rows),
            *_ensemble_rows(record, table, columns, study),
            *published_rows,
        ),
        unit=_unit(table.metric, study),
        sources=sources,
        folds=tuple(_folds(record, table, column) for column in columns),
        titles=record.titles,
    )


def _folds(record: PlanRecord, table: Table, column: dict[str, str]) -> tuple[int, ...]:
    cells = (cell for role in table.rows for cell in matching_cells(record, role, column))
    return tuple(sorted({cell.fold for cell in cells}))


def _unit(metric: str, study: Study) -> str:
    for (_, name), measured in study.measured.items():
        if name == metric and measured.unit:
            return measured.unit
    return "percent"


def _columns(record: PlanRecord, table: Table) -> tuple[dict[str, str], ...]:
    """Return every combination of the axes' values for which some row has a run."""
    values_by_axis = []
    for axis in table.columns:
        used = dict.fromkeys(cell.case[axis] for cell in record.cells if axis in cell.case)
        values_by_axis.append(record.axes.get(axis) or tuple(used))
    columns = []
    for values in itertools.product(*values_by_axis):
        case = dict(zip(table.columns, values, strict=True))
        if any(matching_cells(record, role, case) for role in table.rows):
            columns.append(case)
    return tuple(columns)


def _row(
    record: PlanRecord,
    role: str,
    columns: Sequence[dict[str, str]],
    metric: str,
    study: Study,
    *,
    group: RoleGroup,
) -> GridRow:
    cells = tuple(
        _grid_cell(matching_cells(record, role, column), metric, study) for column in columns
    )
    return GridRow(role=role, title=record.roles.get(role, role), group=group, cells=cells)


def _grid_cell(planned: Sequence[Cell], metric: str, study: Study) -> GridCell:
    """Average within each seed, then over seeds; a seed counts when all of its cases are measured.

    A seed has several cells where its target has several folds, or the column leaves an axis open.
    """
    by_seed: dict[int, list[float | None]] = {}
    for cell in planned:
        by_seed.setdefault(cell.seed, []).append(study.value(cell.run_id, metric))
    means = []
    for values in by_seed.values():
        measured = [value for value in values if value is not None]
        if len(measured) == len(values):
            means.append(statistics.fmean(measured))
    return GridCell(
        mean=statistics.fmean(means) if means else None,
        sd=statistics.stdev(means) if len(means) > 1 else None,
        num_done=len(means),
        num_planned=len(by_seed),
        run_ids=tuple(dict.fromkeys(cell.run_id for cell in planned)),
    )


def _ensemble_rows(
    record: PlanRecord, table: Table, columns: Sequence[dict[str, str]], study: Study
) -> list[GridRow]:
    """The rows of the teachers together. A student of a single teacher has no ensemble: the numbers
    would be those of the teacher's own row.
    """
    if "student" not in table.rows:
        return []
    students = [
        [c for c in matching_cells(record, "student", column) if _has_ensemble(study, c.run_id)]
        for column in columns
    ]
    rows = []
    for metric, title in ENSEMBLE_ROWS.get(table.metric, {}).items():
        cells = tuple(_grid_cell(planned, metric, study) for planned in students)
        if any(cell.num_done for cell in cells):
            rows.append(GridRow(role=metric, title=title, group="ensemble", cells=cells))
    return rows


def _has_ensemble(study: Study, run_id: str) -> bool:
    return study.runs[run_id].num_teachers > 1


def _published_rows(
    record: PlanRecord, table: Table, columns: Sequence[dict[str, str]]
) -> tuple[list[GridRow], tuple[str, ...]]:
    """Return the rows for which the source prints at least one number, and the sources.

    A published number counts as none of our seeds.
    """
    rows: list[GridRow] = []
    sources: dict[str, None] = {}
    for role in table.rows:
        cells = []
        for column in columns:
            number = find_published(record.experiment, metric=table.metric, role=role, case=column)
            if number:
                sources[number.source] = None
            mean = number.value if number else None
            cells.append(GridCell(mean=mean, sd=None, num_done=0, num_planned=0))
        if any(cell.mean is not None for cell in cells):
            title = record.roles.get(role, role)
            rows.append(GridRow(role=role, title=title, group="published", cells=tuple(cells)))
    return rows, tuple(sources)


def _mark_best(rows: list[GridRow]) -> list[GridRow]:
    """Mark the highest mean of each column that is complete; means that print alike are equally
    good, and where all are, none is marked.
    """
    best = []
    for column in zip(*(row.cells for row in rows), strict=True):
        planned = [cell for cell in column if cell.num_planned]
        texts = {format_number(cell.mean) for cell in planned}
        is_complete = all(cell.num_done == cell.num_planned for cell in planned)
        best.append(max(texts, key=_as_float) if is_complete and len(texts) > 1 else None)
    marked = []
    for row in rows:
        cells = []
        for cell, best_text in zip(row.cells, best, strict=True):
            is_best = cell.mean is not None and format_number(cell.mean) == best_text
            cells.append(replace(cell, is_best=is_best))
        marked.append(replace(row, cells=tuple(cells)))
    return marked


def _as_float(text: str) -> float:
    return float(text.replace(MINUS, "-"))
