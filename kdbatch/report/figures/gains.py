"""Draws the gain of the student over its teachers' mean and over training with labels only."""

from collections.abc import Mapping, Sequence

from kdbatch.report.figures.drawing import FAINT, WHITE, Drawing, Markers, Strokes
from kdbatch.report.figures.panels import (
    MARKER_POINTS,
    Axis,
    Panel,
    Range,
    draw_frame,
    draw_legend,
    range_of,
    round_ticks,
    stroke_of,
)
from kdbatch.report.figures.role_styles import CONTROLS, STUDENT, RoleStyle
from kdbatch.report.labels import case_title
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.gains import Gains, StudentGain

LINE_INCHES, WIDTH_INCHES = 0.36, 5.4
OVER_TEACHERS = RoleStyle(colour=STUDENT, marker="o", dashes=(), width=1.4, rank=1)
OVER_CONTROL = RoleStyle(colour=CONTROLS[0], marker="s", dashes=(), width=1.4, rank=1)


def draw_gains(gains: Gains, titles: Mapping[str, str]) -> Drawing | None:
    """Draw one line per case; return None while no student can be compared. `titles` are the
    plan's own titles of values.
    """
    shown = [gain for gain in gains.cases if gain.over_teachers or gain.over_control]
    if not shown:
        return None
    caption = (
        "The student minus the mean of its teachers, and minus the same network trained from "
        "labels alone with the same schedule. Bars: 95 % interval over test videos and seeds. A "
        "gain comes from the teachers only where both lie right of the dashed line."
    )
    return _draw_lines(shown, titles, caption=caption)


def _draw_lines(
    gains: Sequence[StudentGain], titles: Mapping[str, str], *, caption: str
) -> Drawing:
    """Draw the first case at the top, and in each line the gain over teachers above the other."""
    height = 1.0 + LINE_INCHES * len(gains)
    drawing = Drawing(
        width=WIDTH_INCHES, height=height, title="Gain of the student", caption=caption
    )
    box = (0.34 * WIDTH_INCHES, 0.52, 0.63 * WIDTH_INCHES, LINE_INCHES * len(gains))
    drawing.begin_part((0.0, 0.0, WIDTH_INCHES, height - 0.25))
    panel = Panel(box=box, x=_gain_range(gains), y=(-0.6, len(gains) - 0.4))
    lines = [case_title(gain.case, titles) for gain in reversed(gains)]
    draw_frame(
        drawing,
        panel,
        title="",
        x=Axis(ticks=round_ticks(panel.x, at_most=9), title="points of top-1 accuracy"),
        y=Axis(ticks=tuple(enumerate(lines)), has_grid=False),
    )
    ends = (panel.place(0.0, end) for end in panel.y)
    drawing.add(Strokes(lines=(tuple(ends),), colour=FAINT, width=0.9, dashes=(3.0, 3.0)))
    for i, gain in enumerate(gains):
        y = len(gains) - 1 - i
        _draw_comparison(drawing, panel, y + 0.13, gain.over_teachers, OVER_TEACHERS)
        _draw_comparison(drawing, panel, y - 0.13, gain.over_control, OVER_CONTROL)
    draw_legend(
        drawing,
        [(OVER_TEACHERS, "above the mean of its teachers"), (OVER_CONTROL, "above labels only")],
        middle=0.69 * WIDTH_INCHES,
        top=height - 0.06,
        num_columns=2,
        has_lines=False,
    )
    return drawing


def _gain_range(gains: Sequence[StudentGain]) -> Range:
    """Return the range of all effects and intervals, and of the line at 0."""
    ends = [0.0]
    for gain in gains:
        for comparison in (gain.over_teachers, gain.over_control):
            if comparison:
                bounds = (comparison.low, comparison.effect, comparison.high)
                ends += [bound for bound in bounds if bound is not None]
    return range_of(ends)


def _draw_comparison(
    drawing: Drawing, panel: Panel, y: float, comparison: Comparison | None, style: RoleStyle
) -> None:
    """Draw the effect as a dot and its interval as a line."""
    if comparison is None:
        return
    if comparison.low is not None and comparison.high is not None:
        ends = panel.place(comparison.low, y), panel.place(comparison.high, y)
        drawing.add(stroke_of(style, ends))
    drawing.add(
        Markers(
            at=(panel.place(comparison.effect, y),),
            shape=style.marker,
            size=MARKER_POINTS,
            colour=style.colour,
            edge=WHITE,
        )
    )
