"""Draws a table: each role's numbers along the innermost axis, a panel per case of the others."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.reading.video_counts import parse_video_count
from kdbatch.report.figures.drawing import WHITE, Drawing, InchBox, Markers, Strokes, panel_grid
from kdbatch.report.figures.panels import (
    LEGEND_LINE_INCHES,
    MARKER_POINTS,
    Axis,
    Panel,
    Range,
    draw_frame,
    draw_legend,
    legend_shape,
    range_of,
    round_ticks,
    stroke_of,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles
from kdbatch.report.labels import RoleGroup, case_title, metric_title, value_title
from kdbatch.report.stats.bootstrap import wilson_interval
from kdbatch.report.tables.grid import Grid, GridRow

# Share of the distance between two axis values over which the roles are spread, so that none hides
# another; less where lines join the values.
ROLE_SPREAD, ROLE_SPREAD_JOINED = 0.6, 0.16
TRAINED_GROUPS: tuple[RoleGroup, ...] = ("teacher", "student", "reference", "control")
_MAX_COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT = 3.3, 2.9  # in inches, with margins


def draw_accuracy(grid: Grid, num_videos: Mapping[str, int]) -> Drawing | None:
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
    title = f"{metric_title(grid.table.metric)} by {plot.axis}"
    drawing = Drawing(width=width, height=height, title=title, caption=_caption(grid))
    x = Axis(
        ticks=tuple((i, value_title(value, grid.titles)) for i, value in enumerate(plot.values)),
        title=plot.axis,
        has_grid=False,
    )
    limits = _accuracy_range(plot)
    y_title = f"{metric_title(grid.table.metric)} ({grid.unit})"
    for i, case in enumerate(panels):
        box = _panel_box(i, num_columns, width, height)
        panel = Panel(box=box, x=(-0.4, len(plot.values) - 0.6), y=limits)
        drawing.begin_part((box[0] - 0.62, box[1] - 0.53, box[2] + 0.7, box[3] + 0.83))
        y = Axis(ticks=round_ticks(limits, at_most=8), title=y_title)
        draw_frame(drawing, panel, title=case_title(case, grid.titles) if case else "", x=x, y=y)
        _draw_panel(drawing, plot, case, panel)
    draw_legend(
        drawing,
        [(plot.styles[row.role], row.title) for row in plot.rows],
        middle=width / 2,
        top=0.08 + LEGEND_LINE_INCHES * legend_lines,
        num_columns=legend_columns,
    )
    return drawing


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


def _draw_panel(drawing: Drawing, plot: _Plot, case: dict[str, str], panel: Panel) -> None:
    """Draw one role above the other, those of the highest rank last."""
    grid = plot.grid
    columns = [j for j, column in enumerate(grid.columns) if _outer_case(grid, column) == case]
    drawn = [(plot.styles[row.role], row, plot.role_offset(i)) for i, row in enumerate(plot.rows)]
    for style, row, offset in sorted(drawn, key=lambda item: item[0].rank):
        points, bars = [], []
        for j in columns:
            mean = row.cells[j].mean
            if mean is not None:
                x = plot.values.index(grid.columns[j][plot.axis]) + offset
                points.append(panel.place(x, mean))
                ends = _error_bar(row, j, grid, plot.num_videos)
                bars.append(tuple(panel.place(x, end) for end in ends))
        if not points:
            continue
        drawing.add(Strokes(lines=tuple(bars), colour=style.colour, width=1.0))
        if plot.is_joined:
            drawing.add(stroke_of(style, points))
        drawing.add(
            Markers(
                at=tuple(points),
                shape=style.marker,
                size=MARKER_POINTS,
                colour=style.colour,
                edge=WHITE,
            )
        )


def _accuracy_range(plot: _Plot) -> Range:
    """Return the range of all panels: they have one scale."""
    ends = []
    for row in plot.rows:
        for j, cell in enumerate(row.cells):
            if cell.mean is not None:
                ends += _error_bar(row, j, plot.grid, plot.num_videos)
    return range_of(ends)


def _error_bar(
    row: GridRow, j: int, grid: Grid, num_videos: Mapping[str, int]
) -> tuple[float, float]:
    """Return the ends of the bar: a standard deviation over seeds to either side of the mean.

    With one seed: Wilson's interval of one standard error, which 100 % of few videos has, too; no
    bar where the number of videos is unknown.
    """
    cell = row.cells[j]
    mean = cell.mean or 0.0
    if cell.sd is not None:
        return mean - cell.sd, mean + cell.sd
    videos = num_videos.get(case_title(grid.columns[j], grid.titles), 0)
    if not videos or not 0 <= mean <= 100:
        return mean, mean
    return wilson_interval(mean, videos, z=1.0)


def _panel_box(i: int, num_columns: int, width: float, height: float) -> InchBox:
    """Return left, bottom, width and height of panel `i`."""
    left = 0.62 + PANEL_WIDTH * (i % num_columns)
    top = 0.3 + PANEL_HEIGHT * (i // num_columns)
    inner_width = 2.75 if num_columns > 1 else width - 0.85
    return left, height - (top + 2.05), inner_width, 2.05


def _size(value: str) -> float:
    """Return the number in `10k` or `C2`; NaN for a value that is no number."""
    try:
        return parse_video_count(value.lstrip("cC"), 10**12, where="")
    except UserError:
        return math.nan


def _caption(grid: Grid) -> str:
    bars = "one standard error over test videos (one seed; Wilson)"
    if grid.num_seeds > 1:
        bars = "standard deviation over seeds"
    return (
        f"{grid.table.title}. Bars: {bars}. Roles are moved a little along the axis, so that their "
        "bars do not hide each other."
    )
