"""A declared table, filled: rows are roles, columns are cases, each number knows its seeds."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
from kdbatch.vocab.plans import PlanRecord, Table

# Measured by every distill run on its own teachers; shown below a table of the same metric.
ENSEMBLE_ROWS: dict[str, dict[str, str]] = {
    "top1": {
        "teacher_ensemble_top1": "Teachers' ensemble",
        "teacher_oracle_top1": "Any teacher right",
    },
}


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """Mean and standard deviation (n - 1) over `num_done` seeds of `num_planned`; None where there
    is nothing to take it of.
    """

    mean: float | None
    sd: float | None
    num_done: int
    num_planned: int
    is_best: bool = False

    @property
    def is_partial(self) -> bool:
        return 0 < self.num_done < self.num_planned

    @property
    def text(self) -> str:
        if self.mean is None:
            return NO_VALUE
        spread = f" ± {format_number(self.sd)}" if self.sd is not None else ""
        return f"{format_number(self.mean)}{spread}" + (
            f" ({self.num_done} of {self.num_planned})" if self.is_partial else ""
        )


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """One role across all columns."""

    role: str
    title: str
    group: RoleGroup
    cells: tuple[GridCell, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table with its numbers. `columns` map axis to value, outermost axis first; `unit` is that
    of the rows, `sources` those of the published ones.
    """

    table: Table
    columns: tuple[dict[str, str], ...]
    rows: tuple[GridRow, ...]
    unit: str
    sources: tuple[str, ...] = ()

    @property
    def num_seeds(self) -> int:
        return max((n.num_planned for row in self.rows for n in row.cells), default=0)

    @property
    def caption(self) -> str:
        """What the numbers are, in one or two sentences."""
        head = f"{metric_title(self.table.metric)} in {self.unit}"
        spread = (
            f", mean ± standard deviation over {self.num_seeds} seeds"
            if self.num_seeds > 1
            else ", one seed"
        )
        numbers = [
            n for row in self.rows if row.group != "published" for n in row.cells if n.num_planned
        ]
        parts = [head + spread + ". Bold: best of its column."]
        if any(n.mean is None for n in numbers):
            parts.append(f"{NO_VALUE}: not measured yet.")
        if any(n.is_partial for n in numbers):
            parts.append("(n of N): seeds so far.")
        if self.sources:
            parts.append(f"Published: {'; '.join(self.sources)}. The final versions may differ.")
        return " ".join([*parts, self.table.note]).strip()


def fill_grid(record: PlanRecord, table: Table, study: Study, *, published: bool = False) -> Grid:
    """The numbers of `table` as far as they are measured; `published`: the source's own numbers
    below them, but not below numbers of a scale whose note says that they cannot be compared.
    """
    columns = _columns(record, table)
    rows = [
        GridRow(
            role=role,
            title=record.roles.get(role, role),
            group=role_group(role, record.references),
            cells=tuple(
                _grid_cell(record, role, column, table.metric, study) for column in columns
            ),
        )
        for role in table.rows
    ]
    ensembles = _ensembles(record, table, columns, study)
    unit = next(
        (m.unit for (_, name), m in study.measured.items() if name == table.metric and m.unit),
        "percent",
    )
    printed, sources = (
        _published(record, table, columns) if published and not record.note else ([], ())
    )
    return Grid(
        table=table,
        columns=columns,
        rows=(*_with_best(rows), *ensembles, *printed),
        unit=unit,
        sources=sources,
    )


def _columns(record: PlanRecord, table: Table) -> tuple[dict[str, str], ...]:
    """Every combination of the axes' values that some row has a run for."""
    values = []
    for axis in table.columns:
        found = dict.fromkeys(cell.case[axis] for cell in record.cells if axis in cell.case)
        values.append(record.axes.get(axis) or tuple(found))
    cases = [
        dict(zip(table.columns, combination, strict=True))
        for combination in itertools.product(*values)
    ]
    return tuple(
        case for case in cases if any(matching_cells(record, role, case) for role in table.rows)
    )


def _grid_cell(
    record: PlanRecord, role: str, column: dict[str, str], metric: str, study: Study
) -> GridCell:
    """Per seed first: a seed counts when all of its cases are measured (several only where the
    column leaves an axis open).
    """
    by_seed: dict[int, list[float | None]] = {}
    for cell in matching_cells(record, role, column):
        by_seed.setdefault(cell.seed, []).append(study.value(cell.run_id, metric))
    whole = [
        [v for v in values if v is not None] for values in by_seed.values() if None not in values
    ]
    means = [statistics.fmean(values) for values in whole]
    return GridCell(
        mean=statistics.fmean(means) if means else None,
        sd=statistics.stdev(means) if len(means) > 1 else None,
        num_done=len(means),
        num_planned=len(by_seed),
    )


def _ensembles(
    record: PlanRecord, table: Table, columns: Sequence[dict[str, str]], study: Study
) -> list[GridRow]:
    if "student" not in table.rows:
        return []
    rows = [
        GridRow(
            role=name,
            title=title,
            group="ensemble",
            cells=tuple(_grid_cell(record, "student", column, name, study) for column in columns),
        )
        for name, title in ENSEMBLE_ROWS.get(table.metric, {}).items()
    ]
    return [row for row in rows if any(n.num_done for n in row.cells)]


def _published(
    record: PlanRecord, table: Table, columns: Sequence[dict[str, str]]
) -> tuple[list[GridRow], tuple[str, ...]]:
    """The rows for which the source prints a number at least once, and where; one printed number
    stands for no seed of ours.
    """
    rows, sources = [], {}
    for role in table.rows:
        found = [
            find_published(record.experiment, metric=table.metric, role=role, case=column)
            for column in columns
        ]
        numbers = tuple(
            GridCell(mean=p.value if p else None, sd=None, num_done=0, num_planned=0) for p in found
        )
        sources |= {p.source: None for p in found if p}
        if any(found):
            rows.append(
                GridRow(
                    role=role,
                    title=record.roles.get(role, role),
                    group="published",
                    cells=numbers,
                )
            )
    return rows, tuple(sources)


def _with_best(rows: list[GridRow]) -> list[GridRow]:
    """Mark the highest mean of each column; equal as printed is equally best."""
    best = [
        max(
            (format_number(n.mean) for n in column if n.mean is not None),
            key=_as_float,
            default=None,
        )
        for column in _by_column(rows)
    ]
    return [
        replace(
            row,
            cells=tuple(
                replace(n, is_best=n.mean is not None and format_number(n.mean) == top)
                for n, top in zip(row.cells, best)
            ),
        )
        for row in rows
    ]


def _by_column(rows: Sequence[GridRow]) -> list[tuple[GridCell, ...]]:
    return list(zip(*(row.cells for row in rows), strict=True))


def _as_float(text: str) -> float:
    return float(text.replace(MINUS, "-"))
