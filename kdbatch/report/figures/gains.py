"""What the student gains, with and without the control: over the mean of its teachers, and over the
same schedule from labels only.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.figures.base import (
    FAINT,
    SavedFigure,
    apply_style,
    escape_mathtext,
    new_figure,
    save_figure,
)
from kdbatch.report.figures.role_styles import CONTROLS, STUDENT
from kdbatch.report.labels import case_title, role_group
from kdbatch.report.stats.bootstrap import SeedDraws
from kdbatch.report.stats.comparisons import Arm, Comparison, compare_arms
from kdbatch.report.stats.correctness import resample_runs
from kdbatch.vocab.plans import PlanRecord

GAIN_METRIC = "top1"
CONTROL_ROLE = "labels_only"
LINE_INCHES = 0.36


def draw_gains(
    record: PlanRecord, study: Study, folder: Path, *, name: str
) -> tuple[SavedFigure | None, tuple[str, ...]]:
    """One line per case; None while no student can be compared. Also what could not be read."""
    gains, warnings = student_gains(record, study)
    shown = [(title, pair) for title, pair in gains if any(pair)]
    if not shown:
        return None, warnings
    height = 1.0 + LINE_INCHES * len(shown)
    with apply_style():
        figure = new_figure(6.4, height)
        axes = figure.add_axes((0.34, 0.52 / height, 0.63, LINE_INCHES * len(shown) / height))
        for place, i, colour, marker in ((0.13, 0, STUDENT, "o"), (-0.13, 1, CONTROLS[0], "s")):
            _draw_comparisons(
                axes,
                [(len(shown) - 1 - k + place, pair[i]) for k, (_, pair) in enumerate(shown)],
                colour=colour,
                marker=marker,
            )
        axes.axvline(0, color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
        axes.set_yticks(range(len(shown)), [escape_mathtext(title) for title, _ in reversed(shown)])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.set_xlabel("points of top-1 accuracy")
        axes.grid(visible=False, axis="y")
        handles = [
            axes.plot([], [], color=colour, marker=marker, linestyle="none", label=label)[0]
            for colour, marker, label in (
                (STUDENT, "o", "above the mean of its teachers"),
                (CONTROLS[0], "s", "above labels only"),
            )
        ]
        figure.legend(handles=handles, loc="upper right", ncol=2, fontsize=7.5)
        caption = (
            "The student minus the mean of its teachers, and minus the same network trained from labels alone with the same schedule. "
            "Bars: 95 % interval over test videos and seeds. Only what lies right of the line in both is a gain from the teachers."
        )
        return save_figure(
            figure, folder, name=name, title="What the student gains", caption=caption
        ), warnings


def student_gains(
    record: PlanRecord, study: Study
) -> tuple[list[tuple[str, tuple[Comparison | None, Comparison | None]]], tuple[str, ...]]:
    """(case, (student - mean of teachers, student - labels only)); None where a run is missing."""
    roles = [role for role in record.roles if role_group(role) == "teacher"]
    needed = {*roles, "student", CONTROL_ROLE}
    evidence = resample_runs(
        study, [c.run_id for c in record.cells if c.role in needed], metric=GAIN_METRIC
    )
    draws = SeedDraws(rng=np.random.default_rng(0))
    found = []
    for case in {
        tuple(c.case.items()): c.case for c in record.cells if c.role == "student"
    }.values():
        student = _arm(record, study, "student", case)
        teachers = [arm for role in roles if (arm := _arm(record, study, role, case)).runs]
        control = _arm(record, study, CONTROL_ROLE, case)
        over_teachers = {student: 1.0} | {arm: -1 / len(teachers) for arm in teachers}
        pair = (
            compare_arms("teachers", over_teachers, evidence.resampled, draws)
            if teachers
            else None,
            compare_arms("control", {student: 1.0, control: -1.0}, evidence.resampled, draws)
            if control.runs
            else None,
        )
        found.append((case_title(case), pair))
    return found, evidence.warnings


def _arm(record: PlanRecord, study: Study, role: str, case: dict[str, str]) -> Arm:
    runs = {cell.seed: cell.run_id for cell in matching_cells(record, role, case)}
    return Arm(
        title=role,
        runs=runs,
        values={seed: study.value(run, GAIN_METRIC) for seed, run in runs.items()},
    )


def _draw_comparisons(
    axes: Axes, places: Sequence[tuple[float, Comparison | None]], *, colour: str, marker: str
) -> None:
    for y, comparison in places:
        if comparison is None:
            continue
        if comparison.low is not None and comparison.high is not None:
            axes.plot(
                [comparison.low, comparison.high], [y, y], color=colour, linewidth=1.4, zorder=2
            )
        axes.plot(
            comparison.effect,
            y,
            color=colour,
            marker=marker,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=3,
        )
