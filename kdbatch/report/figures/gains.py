"""Draws the gain of the student over its teachers' mean and over training with labels only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbatch.report.data.study import Study, cases_of, matching_cells
from kdbatch.report.escape import escape_mathtext
from kdbatch.report.figures.base import (
    FAINT,
    SavedFigure,
    apply_style,
    new_figure,
    save_figure,
)
from kdbatch.report.figures.role_styles import CONTROLS, STUDENT
from kdbatch.report.labels import case_title
from kdbatch.report.stats.arms import Arm, arms_of
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws
from kdbatch.report.stats.comparisons import Comparison, compare_arms
from kdbatch.report.stats.correctness import resample_runs
from kdbatch.report.stats.gain_roles import CONTROL_ROLE, GAIN_METRIC, gain_runs, teacher_roles
from kdbatch.vocab.plans import PlanRecord

LINE_INCHES = 0.36


@dataclass(frozen=True, kw_only=True)
class StudentGain:
    """Gains of the student in one case; None where a run is missing.

    `over_teachers` is relative to the mean of its teachers, `over_control` to training with labels
    only.
    """

    case: dict[str, str]
    over_teachers: Comparison | None
    over_control: Comparison | None


def draw_gains(
    record: PlanRecord, study: Study, folder: Path, *, name: str
) -> tuple[SavedFigure | None, tuple[str, ...]]:
    """Draw one line per case.

    Returns None while no student can be compared, and warnings about files that cannot be used.
    """
    gains, warnings = student_gains(record, study)
    shown = [gain for gain in gains if gain.over_teachers or gain.over_control]
    if not shown:
        return None, warnings
    caption = (
        "The student minus the mean of its teachers, and minus the same network trained from "
        "labels alone with the same schedule. Bars: 95 % interval over test videos and seeds. A "
        "gain comes from the teachers only where both lie right of the dashed line."
    )
    with apply_style():
        figure = _draw_lines(shown)
        saved = save_figure(figure, folder, name=name, title="Gain of the student", caption=caption)
    return saved, warnings


def student_gains(record: PlanRecord, study: Study) -> tuple[list[StudentGain], tuple[str, ...]]:
    """Return the gains case by case, and warnings about files that cannot be used."""
    teachers = teacher_roles(record)
    evidence = resample_runs(study, gain_runs(record), metric=GAIN_METRIC)
    draws = SeedDraws(rng=np.random.default_rng(0))
    gains = []
    for case in cases_of(record, "student"):
        student, control, *others = (
            _arms(record, study, role, case) for role in ("student", CONTROL_ROLE, *teachers)
        )
        with_runs = [arms for arms in others if arms]
        gains.append(
            StudentGain(
                case=case,
                over_teachers=_gain_over_mean(student, with_runs, evidence.resampled, draws),
                over_control=_gain_over_mean(
                    student, [control] if control else [], evidence.resampled, draws
                ),
            )
        )
    return gains, evidence.warnings


def _gain_over_mean(
    student: Sequence[Arm], others: Sequence[Sequence[Arm]], resampled: Resampled, draws: SeedDraws
) -> Comparison | None:
    """Return the student minus the mean of other roles, or None where there are none. The arms of
    a role are its folds.
    """
    if not others:
        return None
    weights = {arm: 1 / len(student) for arm in student}
    weights |= {arm: -1 / (len(others) * len(arms)) for arms in others for arm in arms}
    return compare_arms("", weights, resampled, draws)


def _arms(record: PlanRecord, study: Study, role: str, case: dict[str, str]) -> list[Arm]:
    cells = matching_cells(record, role, case)
    return arms_of(cells, title=role, value=lambda run: study.value(run, GAIN_METRIC))


def _draw_lines(gains: Sequence[StudentGain]) -> Figure:
    """Draw the first case at the top, and in each line the gain over teachers above the other."""
    height = 1.0 + LINE_INCHES * len(gains)
    figure = new_figure(6.4, height)
    axes = figure.add_axes((0.34, 0.52 / height, 0.63, LINE_INCHES * len(gains) / height))
    for i, gain in enumerate(gains):
        y = len(gains) - 1 - i
        _draw_comparison(axes, y + 0.13, gain.over_teachers, colour=STUDENT, marker="o")
        _draw_comparison(axes, y - 0.13, gain.over_control, colour=CONTROLS[0], marker="s")
    axes.axvline(0, color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    titles = [escape_mathtext(case_title(gain.case)) for gain in reversed(gains)]
    axes.set_yticks(range(len(gains)), titles)
    axes.set_ylim(-0.6, len(gains) - 0.4)
    axes.set_xlabel("points of top-1 accuracy")
    axes.grid(visible=False, axis="y")
    handles = []
    for colour, marker, label in (
        (STUDENT, "o", "above the mean of its teachers"),
        (CONTROLS[0], "s", "above labels only"),
    ):
        handles += axes.plot([], [], color=colour, marker=marker, linestyle="none", label=label)
    figure.legend(handles=handles, loc="upper right", ncol=2, fontsize=7.5)
    return figure


def _draw_comparison(
    axes: Axes, y: float, comparison: Comparison | None, *, colour: str, marker: str
) -> None:
    """Draw the effect as a dot and its interval as a line."""
    if comparison is None:
        return
    if comparison.low is not None and comparison.high is not None:
        interval = [comparison.low, comparison.high]
        axes.plot(interval, [y, y], color=colour, linewidth=1.4, zorder=2)
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
