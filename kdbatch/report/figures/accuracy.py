"""A table as a picture: each role's numbers along the innermost axis, one panel per case of the
others.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbatch.base.errors import UserError
from kdbatch.report.figures.base import (
    LEGEND_LINE_INCHES,
    LEGEND_POINTS,
    SavedFigure,
    apply_style,
    escape_mathtext,
    legend_shape,
    new_figure,
    panel_grid,
    save_figure,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles
from kdbatch.report.labels import RoleGroup, case_title, metric_title, value_title
from kdbatch.report.tables.grid import Grid, GridRow
from kdbatch.vocab.shards import parse_video_count

# Of the distance between two values of the axis, over which roles are set apart so that none hides
# another; less where lines join them.
ROLE_SPREAD, ROLE_SPREAD_JOINED = 0.6, 0.16
TRAINED_GROUPS: tuple[RoleGroup, ...] = ("teacher", "student", "reference", "control")


def draw_accuracy(
    grid: Grid, num_videos: Mapping[str, int], folder: Path, *, name: str
) -> SavedFigure | None:
    """None where there is nothing to see: no axis with two values, or no number yet.

    `num_videos` maps a case title to its number of test videos, for the error bars of a single
    seed.
    """
    if not grid.table.columns or not any(n.num_done for row in grid.rows for n in row.cells):
        return None
    axis = grid.table.columns[-1]
    values = list(dict.fromkeys(column[axis] for column in grid.columns))
    outer = list(
        dict.fromkeys(tuple((a, c[a]) for a in grid.table.columns[:-1]) for c in grid.columns)
    )
    if len(values) < 2:
        return None
    rows = _rows_to_draw(grid)
    looks = role_styles(
        [row.role for row in rows], [row.role for row in rows if row.group == "reference"]
    )
    spread = ROLE_SPREAD_JOINED if is_increasing(values) else ROLE_SPREAD
    num_lines, num_columns = panel_grid(len(outer), max_columns=3)
    width = max(3.3 * num_columns + 0.4, 5.4)
    legend = legend_shape([row.title for row in rows], width)
    height = 2.9 * num_lines + 0.18 + LEGEND_LINE_INCHES * legend[0]
    with apply_style():
        figure = new_figure(width, height)
        for i, place in enumerate(outer):
            axes = figure.add_axes(
                _panel_box(i, num_columns, width, height), sharey=figure.axes[0] if i else None
            )
            chosen = [
                j
                for j, column in enumerate(grid.columns)
                if tuple((a, column[a]) for a in grid.table.columns[:-1]) == place
            ]
            for k, row in enumerate(rows):
                offset = spread * (k - (len(rows) - 1) / 2) / max(len(rows), 1)
                _draw_row(
                    axes,
                    row,
                    [(values.index(grid.columns[j][axis]) + offset, j) for j in chosen],
                    looks[row.role],
                    grid,
                    num_videos,
                )
            axes.set_title(escape_mathtext(case_title(dict(place))) if place else "", loc="left")
            axes.set_xticks(range(len(values)), [escape_mathtext(value_title(v)) for v in values])
            axes.set_xlabel(axis)
            axes.grid(visible=False, axis="x")
            if i % num_columns == 0:
                axes.set_ylabel(f"{metric_title(grid.table.metric)} ({grid.unit})")
        _legend(figure, rows, looks, num_columns=legend[1])
        return save_figure(
            figure, folder, name=name, title=_title(grid, axis), caption=_caption(grid)
        )


def is_increasing(values: Sequence[str]) -> bool:
    """Do the values of an axis grow (10k, 30k, ...; C1, C2, C3)? Only then may a line join them."""
    sizes = [_size(value) for value in values]
    return all(a < b for a, b in itertools.pairwise(sizes))  # false for NaN


def _size(value: str) -> float:
    try:
        return parse_video_count(value.lstrip("cC"), 10**12, where="")
    except UserError:
        return math.nan


def _draw_row(
    axes: Axes,
    row: GridRow,
    places: list[tuple[float, int]],
    drawn: RoleStyle,
    grid: Grid,
    num_videos: Mapping[str, int],
) -> None:
    shown = [
        (x, row.cells[j].mean, _error_bar(row, j, grid, num_videos))
        for x, j in places
        if row.cells[j].mean is not None
    ]
    if not shown:
        return
    axis = grid.table.columns[-1]
    xs, ys, errors = zip(*shown, strict=True)
    axes.errorbar(
        xs,
        ys,
        yerr=errors,
        color=drawn.colour,
        marker=drawn.marker,
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linestyle=drawn.dashes
        if is_increasing(list(dict.fromkeys(c[axis] for c in grid.columns)))
        else "none",
        linewidth=drawn.width,
        elinewidth=1.0,
        zorder=drawn.rank,
    )


def _error_bar(row: GridRow, j: int, grid: Grid, num_videos: Mapping[str, int]) -> float:
    """Standard deviation over seeds; of one seed the standard error of a share of n videos; 0 (no
    bar) where n is unknown.
    """
    n = row.cells[j]
    if n.sd is not None:
        return n.sd
    videos = num_videos.get(case_title(grid.columns[j]), 0)
    share = (n.mean or 0.0) / 100
    return (
        100 * math.sqrt(max(share * (1 - share), 0.0) / videos)
        if videos and 0 <= share <= 1
        else 0.0
    )


def _panel_box(
    i: int, num_columns: int, width: float, height: float
) -> tuple[float, float, float, float]:
    left, top = 0.62 + 3.3 * (i % num_columns), 0.3 + 2.9 * (i // num_columns)
    wide = 2.75 if num_columns > 1 else width - 0.85
    return left / width, 1 - (top + 2.05) / height, wide / width, 2.05 / height


def _rows_to_draw(grid: Grid) -> list[GridRow]:
    """Networks that were trained on the target; where there is none, the probes of those that were
    not.
    """
    by_group = {
        group: [row for row in grid.rows if row.group == group]
        for group in (*TRAINED_GROUPS, "probe")
    }
    return [row for group in TRAINED_GROUPS for row in by_group[group]] or by_group["probe"]


def _legend(
    figure: Figure, rows: Sequence[GridRow], looks: Mapping[str, RoleStyle], *, num_columns: int
) -> None:
    handles = [
        figure.axes[0].plot(
            [],
            [],
            color=s.colour,
            marker=s.marker,
            linestyle=s.dashes,
            linewidth=s.width,
            label=escape_mathtext(row.title),
        )[0]
        for row in rows
        if (s := looks[row.role])
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncol=num_columns,
        fontsize=LEGEND_POINTS,
        handlelength=2.2,
        columnspacing=1.6,
    )


def _title(grid: Grid, axis: str) -> str:
    return f"{metric_title(grid.table.metric)} by {axis}"


def _caption(grid: Grid) -> str:
    bars = (
        "standard deviation over seeds"
        if grid.num_seeds > 1
        else "standard error over test videos (one seed)"
    )
    return f"{grid.table.title}. Bars: {bars}. Roles are set apart a little along the axis so that bars do not hide each other."
