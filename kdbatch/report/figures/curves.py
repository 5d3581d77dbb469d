"""Draws learning curves: training accuracy by optimizer step, a panel per case, a line per role."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kdbatch.report.data.study import Study, matching_cells
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
    case: dict[str, str]
    curves: Mapping[str, CurvePoints]  # by role


def draw_curves(
    record: PlanRecord, study: Study, folder: Path, *, name: str
) -> tuple[SavedFigure | None, tuple[str, ...]]:
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
        panels.append(_Panel(case=case, curves=found))
    titles = {role: record.roles.get(role, role) for role in roles}
    with apply_style():
        figure = _draw_panels(panels, titles, role_styles(roles, record.references))
        caption = _caption(len(cases))
        saved = save_figure(
            figure, folder, name=name, title="Accuracy during training", caption=caption
        )
    return saved, warnings


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
    panels: Sequence[_Panel], titles: Mapping[str, str], styles: Mapping[str, RoleStyle]
) -> Figure:
    num_rows, num_columns = panel_grid(len(panels), max_columns=_MAX_COLUMNS)
    width = max(2.5 * num_columns + 0.5, 5.4)
    legend_lines, legend_columns = legend_shape(list(titles.values()), width)
    height = 2.2 * num_rows + 0.33 + LEGEND_LINE_INCHES * legend_lines
    figure = new_figure(width, height)
    handles: dict[str, Line2D] = {}
    for i, panel in enumerate(panels):
        left, top = 0.6 + 2.5 * (i % num_columns), 0.32 + 2.2 * (i // num_columns)
        inner_width = 2.05 if num_columns > 1 else width - 0.85
        box = (left / width, 1 - (top + 1.45) / height, inner_width / width, 1.45 / height)
        axes = figure.add_axes(box)
        handles |= _draw_panel(axes, panel, styles)
        if i % num_columns == 0:
            axes.set_ylabel("training accuracy (%)", fontsize=7.5)
        if i >= len(panels) - num_columns:
            axes.set_xlabel("optimizer step", fontsize=7.5)
    figure.legend(
        handles=list(handles.values()),
        labels=[escape_mathtext(titles[role]) for role in handles],
        loc="lower center",
        ncol=legend_columns,
        fontsize=LEGEND_POINTS,
    )
    return figure


def _draw_panel(axes: Axes, panel: _Panel, styles: Mapping[str, RoleStyle]) -> dict[str, Line2D]:
    """Draw the curves of one case and return a handle for the legend by role."""
    handles: dict[str, Line2D] = {}
    for role, (steps, values) in panel.curves.items():
        style = styles[role]
        (handles[role],) = axes.plot(
            steps,
            values,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=style.width * 0.8,
            marker="." if len(steps) == 1 else "",
            zorder=style.rank,
        )
    axes.set_title(escape_mathtext(case_title(panel.case)), loc="left", fontsize=8)
    axes.set_ylim(0, 102)
    axes.tick_params(labelsize=7)
    axes.locator_params(axis="x", nbins=4)
    return handles


def _caption(num_cases: int) -> str:
    sentences = [
        "Accuracy on training clips, mean of each epoch, lowest finished seed.",
        "Students and controls share one schedule.",
    ]
    if num_cases > MAX_CURVE_PANELS:
        sentences.append(f"The first {MAX_CURVE_PANELS} of {num_cases} cases.")
    return " ".join(sentences)
