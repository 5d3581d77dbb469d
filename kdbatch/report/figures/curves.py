"""Learning curves: accuracy on training clips by optimizer step, one panel per case, one line per
role.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from kdbatch.report.data.study import Study, matching_cells
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
from kdbatch.report.figures.role_styles import role_styles
from kdbatch.report.labels import case_title
from kdbatch.result.read import read_curves
from kdbatch.vocab.plans import PlanRecord

CURVE_NAME = "accuracy"
MAX_POINTS = 200
MAX_CURVE_PANELS = 12
TITLE = "How accuracy grew while training"

CurvePoints = tuple[list[float], list[float]]


def draw_curves(
    record: PlanRecord, study: Study, folder: Path, *, name: str
) -> tuple[SavedFigure | None, tuple[str, ...]]:
    """The first seed of each role; None where no run left a curve. Also warnings about files that
    could not be read.
    """
    cells = [c for c in record.cells if not c.role.startswith("map:")]
    scan = read_curves(study.runs_dir, [c.run_id for c in cells], names=[CURVE_NAME])
    lines = thin_curves(scan.frame)
    roles = [role for role in record.roles if any(c.role == role for c in cells)]
    cases = list({tuple(c.case.items()): c.case for c in cells if c.run_id in lines}.values())
    if not cases:
        return None, scan.warnings
    shown = cases[:MAX_CURVE_PANELS]
    drawn = [
        {role: lines[run] for role in roles if (run := _first_run(record, role, case, lines))}
        for case in shown
    ]
    with apply_style():
        drawing = _draw(drawn, shown, record, roles, folder, name=name, note=_note(len(cases)))
    return drawing, scan.warnings


def thin_curves(frame: pl.DataFrame) -> dict[str, CurvePoints]:
    """(steps, percent) by run, of one curve each, thinned by averaging neighbours."""
    frame = frame.filter(pl.col("value").is_finite(), pl.col("step").is_not_null()).sort("step")
    found = {}
    for (run_id,), curve in frame.group_by("run_id", maintain_order=True):
        width = -(-curve.height // MAX_POINTS)
        thin = curve.with_columns(bin=pl.int_range(pl.len()) // width).group_by(
            "bin", maintain_order=True
        )
        points = thin.agg(pl.col("step").mean(), pl.col("value").mean(), pl.col("unit").first())
        scale = pl.when(pl.col("unit") == "percent").then(1.0).otherwise(100.0)
        found[str(run_id)] = (
            points["step"].to_list(),
            points.select(pl.col("value") * scale).to_series().to_list(),
        )
    return found


def _first_run(
    record: PlanRecord, role: str, case: dict[str, str], lines: Mapping[str, CurvePoints]
) -> str | None:
    cells = sorted(matching_cells(record, role, case), key=lambda c: c.seed)
    return next((c.run_id for c in cells if c.run_id in lines), None)


def _draw(
    drawn: Sequence[Mapping[str, CurvePoints]],
    cases: Sequence[dict[str, str]],
    record: PlanRecord,
    roles: Sequence[str],
    folder: Path,
    *,
    name: str,
    note: str,
) -> SavedFigure:
    titles = {role: record.roles.get(role, role) for role in roles}
    looks = role_styles(roles, record.references)
    num_lines, num_columns = panel_grid(len(cases), max_columns=4)
    width = max(2.5 * num_columns + 0.5, 5.4)
    legend = legend_shape(list(titles.values()), width)
    height = 2.2 * num_lines + 0.33 + LEGEND_LINE_INCHES * legend[0]
    figure = new_figure(width, height)
    handles = {}
    for i, (case, lines) in enumerate(zip(cases, drawn, strict=True)):
        left, top = 0.6 + 2.5 * (i % num_columns), 0.32 + 2.2 * (i // num_columns)
        wide = 2.05 if num_columns > 1 else width - 0.85
        axes = figure.add_axes(
            (left / width, 1 - (top + 1.45) / height, wide / width, 1.45 / height)
        )
        for role, (steps, values) in lines.items():
            s = looks[role]
            marker = "." if len(steps) == 1 else ""
            (handles[role],) = axes.plot(
                steps,
                values,
                color=s.colour,
                linestyle=s.dashes,
                linewidth=s.width * 0.8,
                marker=marker,
                zorder=s.rank,
            )
        axes.set_title(escape_mathtext(case_title(case)), loc="left", fontsize=8)
        axes.set_ylim(0, 102)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=4)
        if i % num_columns == 0:
            axes.set_ylabel("training clips right (%)", fontsize=7.5)
        if i >= len(cases) - num_columns:
            axes.set_xlabel("optimizer step", fontsize=7.5)
    labels = [escape_mathtext(titles[role]) for role in handles]
    figure.legend(
        handles=list(handles.values()),
        labels=labels,
        loc="lower center",
        ncol=legend[1],
        fontsize=LEGEND_POINTS,
    )
    return save_figure(figure, folder, name=name, title=TITLE, caption=note)


def _note(num_cases: int) -> str:
    rest = (
        f" The first {MAX_CURVE_PANELS} of {num_cases} cases."
        if num_cases > MAX_CURVE_PANELS
        else ""
    )
    return f"Accuracy on training clips, mean of each epoch, lowest finished seed. Students and controls share one schedule.{rest}"
