"""Draws learning curves: training accuracy by optimizer step, a panel per case, a line per role."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import polars as pl

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.figures.drawing import Drawing, InchBox, Markers, panel_grid
from kdbatch.report.figures.panels import (
    LEGEND_LINE_INCHES,
    Axis,
    Panel,
    draw_frame,
    draw_legend,
    legend_shape,
    range_of,
    round_ticks,
    stroke_of,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles
from kdbatch.report.labels import case_title
from kdbatch.result.read import read_curves
from kdbatch.result.schema import CURVES
from kdbatch.vocab.plans import Cell, PlanRecord

CURVE_NAME = "accuracy"
MAX_POINTS = 200
MAX_CURVE_PANELS = 12
_MAX_COLUMNS = 4

CurvePoints = tuple[list[float], list[float]]
"""Steps, and the accuracy at each of them in percent."""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    curves: Mapping[str, CurvePoints]  # by role


def draw_curves(record: PlanRecord, study: Study) -> tuple[Drawing | None, tuple[str, ...]]:
    """Draw the curve of each role's first finished seed, for up to MAX_CURVE_PANELS cases.

    Returns None where no run has a curve, and warnings about files that could not be read. The
    files of later seeds are not read.
    """
    cells = [cell for cell in record.cells if not cell.role.startswith("map:")]
    frame, warnings = _read_first_curves(cells, study)
    known = set(frame["run_id"].unique())
    places = {_place_of(cell) for cell in cells if cell.run_id in known}
    used_roles = {cell.role for cell in cells}
    roles = [role for role in record.roles if role in used_roles]
    with_curves = [cell for cell in cells if _place_of(cell) in places]
    cases = list({tuple(cell.case.items()): cell.case for cell in with_curves}.values())
    if not cases:
        return None, warnings
    drawn = [
        (case, {role: _first_run(record, role, case, known) for role in roles})
        for case in cases[:MAX_CURVE_PANELS]
    ]
    shown = {run_id for _, runs in drawn for run_id in runs.values()}
    by_run = thin_curves(frame.filter(pl.col("run_id").is_in(list(shown))))
    panels = []
    for case, runs in drawn:
        found = {role: by_run[run_id] for role, run_id in runs.items() if run_id in by_run}
        panels.append(_Panel(title=case_title(case, record.titles), curves=found))
    titles = {role: record.roles.get(role, role) for role in roles}
    styles = role_styles(roles, record.references)
    return _draw_panels(panels, titles, styles, caption=_caption(len(cases))), warnings


def _read_first_curves(cells: Sequence[Cell], study: Study) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Read the curve of the lowest seed that has one, for each role in each case."""
    runs: dict[object, list[str]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        runs.setdefault(_place_of(cell), []).append(cell.run_id)
    frames = [pl.DataFrame(schema=CURVES)]
    warnings: list[str] = []
    waiting = list(runs.values())
    while waiting:
        result = read_curves(
            study.runs_dir, [ids[0] for ids in waiting], names=[CURVE_NAME], done=study.done
        )
        frames.append(_usable(result.frame))
        warnings += result.warnings
        found = set(frames[-1]["run_id"].unique())
        waiting = [ids[1:] for ids in waiting if ids[0] not in found and ids[1:]]
    return pl.concat(frames), tuple(warnings)


def _place_of(cell: Cell) -> tuple[object, ...]:
    """The role and the case of a cell, without its seed."""
    return cell.role, *cell.case.items()


def _usable(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("value").is_finite(), pl.col("step").is_not_null())


def thin_curves(frame: pl.DataFrame) -> dict[str, CurvePoints]:
    """Return one curve per run, of at most MAX_POINTS points: neighbours are averaged."""
    frame = _usable(frame).sort("step")
    curves = {}
    for (run_id,), curve in frame.group_by("run_id", maintain_order=True):
        bin_size = -(-curve.height // MAX_POINTS)
        bins = curve.with_columns(bin=pl.int_range(pl.len()) // bin_size)
        points = bins.group_by("bin", maintain_order=True).agg(
            pl.col("step").mean(), pl.col("value").mean(), pl.col("unit").first()
        )
        scale = pl.when(pl.col("unit") == "percent").then(1.0).otherwise(100.0)
        percent = points.select(pl.col("value") * scale).to_series()
        curves[str(run_id)] = (points["step"].to_list(), percent.to_list())
    return curves


def _first_run(record: PlanRecord, role: str, case: dict[str, str], known: Set[str]) -> str:
    """Return the run of the lowest seed and fold that has a curve; empty where none has one."""
    cells = sorted(matching_cells(record, role, case), key=lambda cell: (cell.seed, cell.fold))
    return next((cell.run_id for cell in cells if cell.run_id in known), "")


def _draw_panels(
    panels: Sequence[_Panel],
    titles: Mapping[str, str],
    styles: Mapping[str, RoleStyle],
    *,
    caption: str,
) -> Drawing:
    num_rows, num_columns = panel_grid(len(panels), max_columns=_MAX_COLUMNS)
    width = max(2.5 * num_columns + 0.5, 5.4)
    legend_lines, legend_columns = legend_shape(list(titles.values()), width)
    height = 2.2 * num_rows + 0.33 + LEGEND_LINE_INCHES * legend_lines
    drawing = Drawing(width=width, height=height, title="Accuracy during training", caption=caption)
    for i, panel in enumerate(panels):
        left, top = 0.6 + 2.5 * (i % num_columns), 0.32 + 2.2 * (i // num_columns)
        inner_width = 2.05 if num_columns > 1 else width - 0.85
        x_title = "optimizer step"
        box = (left, height - (top + 1.45), inner_width, 1.45)
        drawing.begin_part((left - 0.6, box[1] - 0.53, inner_width + 0.7, 2.3))
        y_title = "training accuracy (%)"
        _draw_panel(drawing, panel, styles, titles, box=box, axes=(x_title, y_title))
    used = dict.fromkeys(role for panel in panels for role in panel.curves)
    draw_legend(
        drawing,
        [(styles[role], titles[role]) for role in used],
        middle=width / 2,
        top=0.1 + LEGEND_LINE_INCHES * legend_lines,
        num_columns=legend_columns,
        has_markers=False,
    )
    return drawing


def _draw_panel(
    drawing: Drawing,
    curves: _Panel,
    styles: Mapping[str, RoleStyle],
    titles: Mapping[str, str],
    *,
    box: InchBox,
    axes: tuple[str, str],
) -> None:
    """Draw the curves of one case; a curve of one point is a dot."""
    steps = [step for steps, _ in curves.curves.values() for step in steps]
    panel = Panel(box=box, x=range_of(steps or [0.0, 1.0]), y=(0.0, 102.0))
    draw_frame(
        drawing,
        panel,
        title=curves.title,
        x=Axis(ticks=round_ticks(panel.x, at_most=4), title=axes[0]),
        y=Axis(ticks=round_ticks(panel.y, at_most=7), title=axes[1]),
        title_points=8,
        tick_points=7,
        label_points=7.5,
    )
    ordered = sorted(curves.curves.items(), key=lambda item: styles[item[0]].rank)
    for role, (steps, values) in ordered:
        style = styles[role]
        points = tuple(map(panel.place, steps, values))
        if len(points) == 1:
            drawing.add(Markers(at=points, shape="o", size=3, colour=style.colour))
        drawing.add(stroke_of(style, points, share=0.8, inside=panel, name=titles[role]))


def _caption(num_cases: int) -> str:
    sentences = [
        "Accuracy on training clips, mean of each epoch, lowest finished seed.",
        "Students and controls share one schedule.",
    ]
    if num_cases > MAX_CURVE_PANELS:
        sentences.append(f"The first {MAX_CURVE_PANELS} of {num_cases} cases.")
    return " ".join(sentences)
