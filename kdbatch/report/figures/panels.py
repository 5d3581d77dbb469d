"""Panels of a figure: a box with ticks, lines of a grid and titles, and the legend below them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kdbatch.report.figures.drawing import (
    FAINT,
    GRID,
    Drawing,
    InchBox,
    Label,
    Markers,
    Point,
    Strokes,
)
from kdbatch.report.figures.role_styles import RoleStyle
from kdbatch.report.labels import format_number

TEXT_POINTS, TITLE_POINTS = 8.5, 9.0
LEGEND_POINTS, LEGEND_LINE_INCHES = 7.5, 0.17
MAX_LEGEND_COLUMNS = 4
MARGIN = 0.05  # of a range, on both sides of its numbers
MARKER_POINTS = 5.5
Range = tuple[float, float]
Tick = tuple[float, str]
"""A place on an axis, and its label."""

_TICK, _PAD, _LINE = 3.5 / 72, 3.5 / 72, 0.7
_LARGEST = 1e300  # of the numbers that an axis shows: their range is a number, too
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LETTER = 0.6 / 72  # inches for each point of the size: the mean width of a letter
_HANDLE, _GAP = 0.26, 0.09  # inches


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A box of a figure in inches, and the numbers at its edges."""

    box: InchBox
    x: Range
    y: Range

    def place(self, x: float, y: float) -> Point:
        """Return where a pair of numbers is drawn."""
        left, bottom, width, height = self.box
        right, up = (
            (value - low) / (high - low) for value, (low, high) in ((x, self.x), (y, self.y))
        )
        return left + width * right, bottom + height * up


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The ticks of an axis with their labels; `has_grid`: with a line across the panel at each."""

    ticks: tuple[Tick, ...]
    title: str = ""
    has_grid: bool = True


def draw_frame(
    drawing: Drawing,
    panel: Panel,
    *,
    title: str,
    x: Axis,
    y: Axis,
    title_points: float = TITLE_POINTS,
    tick_points: float = TEXT_POINTS,
    label_points: float = TEXT_POINTS,
) -> None:
    """Draw what lies below the data: grid, axes, ticks and their labels, titles."""
    left, bottom, width, height = panel.box
    places_x = [panel.place(value, panel.y[0])[0] for value, _ in x.ticks]
    places_y = [panel.place(panel.x[0], value)[1] for value, _ in y.ticks]
    across = [((place, bottom), (place, bottom + height)) for place in places_x if x.has_grid]
    along = [((left, place), (left + width, place)) for place in places_y if y.has_grid]
    below = [((place, bottom), (place, bottom - _TICK)) for place in places_x]
    beside = [((left, place), (left - _TICK, place)) for place in places_y]
    edges = ((left, bottom + height), (left, bottom), (left + width, bottom))
    drawing.add(
        Strokes(lines=(*across, *along), colour=GRID, width=_LINE),
        Strokes(lines=(edges, *below, *beside), colour=FAINT, width=_LINE),
    )
    away = _TICK + _PAD
    for place, (_, text) in zip(places_x, x.ticks, strict=True):
        at = place, bottom - away
        label = Label(at=at, text=text, points=tick_points, align="center", anchor="top")
        drawing.add(label)
    for place, (_, text) in zip(places_y, y.ticks, strict=True):
        at = left - away, place
        label = Label(at=at, text=text, points=tick_points, align="right", anchor="middle")
        drawing.add(label)
    under = left + width / 2, bottom - away - 1.5 * tick_points / 72
    leftmost = left - 0.46, bottom + height / 2
    drawing.add(
        Label(at=under, text=x.title, points=label_points, align="center", anchor="top"),
        Label(at=leftmost, text=y.title, points=label_points, align="center", degrees=90),
        Label(at=(left, bottom + height + 6 / 72), text=title, points=title_points, is_bold=True),
    )


def draw_legend(
    drawing: Drawing,
    entries: Sequence[tuple[RoleStyle, str]],
    *,
    middle: float,
    top: float,
    num_columns: int,
    has_lines: bool = True,
    has_markers: bool = True,
) -> None:
    """Draw a sample of each style with its label, in columns about the x `middle`.

    In a figure of parts each entry is one, so that a narrow page has more lines of them.
    """
    num_lines = -(-len(entries) // num_columns)
    columns = [entries[i : i + num_lines] for i in range(0, len(entries), num_lines)]
    widths = [
        _HANDLE + _GAP + LEGEND_POINTS * _LETTER * max(len(label) for _, label in column)
        for column in columns
    ]
    between = 0.16
    left = middle - (sum(widths) + between * (len(widths) - 1)) / 2
    for column, width in zip(columns, widths, strict=True):
        for i, (style, label) in enumerate(column):
            y = top - LEGEND_LINE_INCHES * (i + 0.5)
            if drawing.part_starts:
                box = (left, y - LEGEND_LINE_INCHES / 2, width, LEGEND_LINE_INCHES)
                drawing.begin_part(box, is_key=True)
            ends = (left, y), (left + _HANDLE, y)
            if has_lines:
                drawing.add(stroke_of(style, ends))
            if has_markers:
                at = ((left + _HANDLE / 2, y),)
                drawing.add(
                    Markers(at=at, shape=style.marker, size=MARKER_POINTS, colour=style.colour)
                )
            at = left + _HANDLE + _GAP, y
            drawing.add(Label(at=at, text=label, points=LEGEND_POINTS, anchor="middle"))
        left += width + between


def stroke_of(
    style: RoleStyle,
    line: Sequence[Point],
    *,
    share: float = 1.0,
    inside: Panel | None = None,
    name: str = "",
) -> Strokes:
    """Return a line in the style of a role; `share` of its width, and clipped by a panel."""
    return Strokes(
        lines=(tuple(line),),
        colour=style.colour,
        width=share * style.width,
        dashes=style.dashes,
        clip=inside.box if inside else None,
        name=name,
        axes=(*inside.x, *inside.y) if inside else (),
    )


def legend_shape(labels: Sequence[str], width_inches: float) -> tuple[int, int]:
    """Return (lines, columns) in which labels of LEGEND_POINTS fit into a width."""
    longest = max((len(label) for label in labels), default=0)
    widest_inches = 0.55 + _LETTER * LEGEND_POINTS * longest  # handle and gap, then the letters
    fitting = int(width_inches / widest_inches)
    columns = max(1, min(MAX_LEGEND_COLUMNS, len(labels), fitting))
    return -(-len(labels) // columns), columns


def range_of(values: Sequence[float]) -> Range:
    """Return the range that an axis has for these numbers, with a margin on both sides."""
    low, high = max(min(values), -_LARGEST), min(max(values), _LARGEST)
    size = max(abs(low), abs(high), 1.0)
    margin = MARGIN * (high - low if high - low > 1e-9 * size else size)
    return low - margin, high + margin


def round_ticks(limits: Range, *, at_most: int) -> tuple[Tick, ...]:
    """Return ticks at the multiples of the least round step that divides a range into no more
    than `at_most` parts.
    """
    low, high = limits
    raw = (high - low) / at_most
    power = math.floor(math.log10(raw))
    factor = next(step for step in _STEPS if step >= raw / 10.0**power * (1 - 1e-9))
    step = factor * 10.0**power
    digits = max(0, -power - (factor == 10.0) + (factor == 2.5))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple((i * step, format_number(i * step, digits=digits)) for i in range(first, last + 1))
