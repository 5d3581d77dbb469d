"""Draws a table: each role's numbers along the innermost axis, a panel per case of the others."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbatch.base.errors import UserError
from kdbatch.base.reading.video_counts import parse_video_count
from kdbatch.report.escape import escape_mathtext
from kdbatch.report.figures.base import (
    LEGEND_LINE_INCHES,
    LEGEND_POINTS,
    SavedFigure,
    apply_style,
    legend_shape,
    new_figure,
    panel_grid,
    save_figure,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles
from kdbatch.report.labels import RoleGroup, case_title, metric_title, value_title
from kdbatch.report.tables.grid import Grid, GridRow

# Share of the distance between two axis values over which the roles are spread, so that none hides
# another; less where lines join the values.
ROLE_SPREAD, ROLE_SPREAD_JOINED = 0.6, 0.16
TRAINED_GROUPS: tuple[RoleGroup, ...] = ("teacher", "student", "reference", "control")
_MAX_COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.9  # in inches, with margins


def draw_accuracy(
    grid: Grid, num_videos: Mapping[str, int], folder: Path, *, name: str
) -> SavedFigure | None:
    """Draw a table; return None where it has no axis with two values, or no number yet.

    `num_videos` maps a case title to its number of test videos, for the error bars of a single
    seed.
    """
    if not grid.table.columns or not any(c.num_done for row in grid.rows for c in row.cells):
        return None
    plot = _plan_plot(grid, num_videos)
    if len(plot.values) < 2:
        return None
    panels = _panel_cases(grid)
    num_rows, num_columns = panel_grid(len(panels), max_columns=_MAX_COLUMNS)
    width = max(PANEL_WIDTH * num_columns + 0.4, 5.4)
    legend_lines, legend_columns = legend_shape([row.title for row in plot.rows], width)
    height = PANEL_HEIGHT * num_rows + 0.18 + LEGEND_LINE_INCHES * legend_lines
    with apply_style():
        figure = new_figure(width, height)
        for i, case in enumerate(panels):
            box = _panel_box(i, num_columns, width, height)
            axes = figure.add_axes(box, sharey=figure.axes[0] if i else None)
            _draw_panel(axes, plot, case, has_label=i % num_columns == 0)
        _draw_legend(figure, plot, num_columns=legend_columns)
        title = f"{metric_title(grid.table.metric)} by {plot.axis}"
        return save_figure(figure, folder, name=name, title=title, caption=_caption(grid))


def is_increasing(values: Sequence[str]) -> bool:
    """Return whether axis values grow (10k, 30k, ...; C1, C2, C3): then lines may join them."""
    sizes = [_size(value) for value in values]
    return all(a < b for a, b in itertools.pairwise(sizes))  # false for NaN


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """The contents of a figure: `values` of the innermost `axis`, and the rows drawn over them."""

    grid: Grid
    num_videos: Mapping[str, int]
    axis: str
    values: list[str]
    rows: list[GridRow]
    styles: Mapping[str, RoleStyle]

    @property
    def is_joined(self) -> bool:
        return is_increasing(self.values)

    def role_offset(self, index: int) -> float:
        """Return the distance of a role's points from the axis value."""
        spread = ROLE_SPREAD_JOINED if self.is_joined else ROLE_SPREAD
        return spread * (index - (len(self.rows) - 1) / 2) / max(len(self.rows), 1)


def _plan_plot(grid: Grid, num_videos: Mapping[str, int]) -> _Plot:
    axis = grid.table.columns[-1]
    rows = _rows_to_draw(grid)
    references = [row.role for row in rows if row.group == "reference"]
    return _Plot(
        grid=grid,
        num_videos=num_videos,
        axis=axis,
        values=list(dict.fromkeys(column[axis] for column in grid.columns)),
        rows=rows,
        styles=role_styles([row.role for row in rows], references),
    )


def _rows_to_draw(grid: Grid) -> list[GridRow]:
    """Return the networks trained on the target; without any, the probes of pretrained features."""
    rows = [row for group in TRAINED_GROUPS for row in grid.rows if row.group == group]
    return rows or [row for row in grid.rows if row.group == "probe"]


def _panel_cases(grid: Grid) -> list[dict[str, str]]:
    """Return the cases of all axes but the innermost one, one per panel."""
    cases = [_outer_case(grid, column) for column in grid.columns]
    return list({tuple(case.items()): case for case in cases}.values())


def _outer_case(grid: Grid, column: Mapping[str, str]) -> dict[str, str]:
    return {axis: column[axis] for axis in grid.table.columns[:-1]}


def _draw_panel(axes: Axes, plot: _Plot, case: dict[str, str], *, has_label: bool) -> None:
    grid = plot.grid
    columns = [j for j, column in enumerate(grid.columns) if _outer_case(grid, column) == case]
    for i, row in enumerate(plot.rows):
        _draw_row(axes, plot, row, columns, offset=plot.role_offset(i))
    axes.set_title(escape_mathtext(case_title(case)) if case else "", loc="left")
    labels = [escape_mathtext(value_title(value)) for value in plot.values]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(escape_mathtext(plot.axis))
    axes.grid(visible=False, axis="x")
    if has_label:
        axes.set_ylabel(escape_mathtext(f"{metric_title(grid.table.metric)} ({grid.unit})"))


def _draw_row(
    axes: Axes, plot: _Plot, row: GridRow, columns: Sequence[int], *, offset: float
) -> None:
    """Draw one role's numbers in some columns, with error bars."""
    xs, ys, errors = [], [], []
    for j in columns:
        mean = row.cells[j].mean
        if mean is not None:
            xs.append(plot.values.index(plot.grid.columns[j][plot.axis]) + offset)
            ys.append(mean)
            errors.append(_error_bar(row, j, plot.grid, plot.num_videos))
    if not xs:
        return
    style = plot.styles[row.role]
    axes.errorbar(
        xs,
        ys,
        yerr=errors,
        color=style.colour,
        marker=style.marker,
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linestyle=style.dashes if plot.is_joined else "none",
        linewidth=style.width,
        elinewidth=1.0,
        zorder=style.rank,
    )


def _error_bar(row: GridRow, j: int, grid: Grid, num_videos: Mapping[str, int]) -> float:
    """Return the standard deviation over seeds.

    With one seed: the standard error of a share of n videos, and 0 (no bar) where n is unknown.
    """
    cell = row.cells[j]
    if cell.sd is not None:
        return cell.sd
    videos = num_videos.get(case_title(grid.columns[j]), 0)
    share = (cell.mean or 0.0) / 100
    if not videos or not 0 <= share <= 1:
        return 0.0
    return 100 * math.sqrt(max(share * (1 - share), 0.0) / videos)


def _panel_box(
    i: int, num_columns: int, width: float, height: float
) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of panel `i`, as shares of the figure."""
    left = 0.62 + PANEL_WIDTH * (i % num_columns)
    top = 0.3 + PANEL_HEIGHT * (i // num_columns)
    inner_width = 2.75 if num_columns > 1 else width - 0.85
    return left / width, 1 - (top + 2.05) / height, inner_width / width, 2.05 / height


def _draw_legend(figure: Figure, plot: _Plot, *, num_columns: int) -> None:
    handles = []
    for row in plot.rows:
        style = plot.styles[row.role]
        (handle,) = figure.axes[0].plot(
            [],
            [],
            color=style.colour,
            marker=style.marker,
            linestyle=style.dashes,
            linewidth=style.width,
            label=escape_mathtext(row.title),
        )
        handles.append(handle)
    figure.legend(
        handles=handles,
        loc="lower center",
        ncol=num_columns,
        fontsize=LEGEND_POINTS,
        handlelength=2.2,
        columnspacing=1.6,
    )


def _size(value: str) -> float:
    """Return the number in `10k` or `C2`; NaN for a value that is no number."""
    try:
        return parse_video_count(value.lstrip("cC"), 10**12, where="")
    except UserError:
        return math.nan


def _caption(grid: Grid) -> str:
    bars = "standard error over test videos (one seed)"
    if grid.num_seeds > 1:
        bars = "standard deviation over seeds"
    return (
        f"{grid.table.title}. Bars: {bars}. Roles are moved a little along the axis, so that their "
        "bars do not hide each other."
    )
