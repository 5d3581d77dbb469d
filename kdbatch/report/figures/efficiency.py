"""Draws accuracy against what it costs: hours of training, and multiply-adds of a clip."""

from collections.abc import Sequence

from kdbatch.report.data.efficiency import Efficiency
from kdbatch.report.figures.drawing import (
    FAINT,
    MINOR_POINTS,
    WHITE,
    Drawing,
    Label,
    Markers,
    Strokes,
)
from kdbatch.report.figures.panels import (
    LEGEND_LINE_INCHES,
    MARKER_POINTS,
    Axis,
    Panel,
    draw_frame,
    draw_legend,
    legend_shape,
    range_of,
    round_ticks,
)
from kdbatch.report.figures.role_styles import RoleStyle, role_styles

_PANEL_WIDTH, _PANEL_HEIGHT = 3.3, 2.9  # in inches, with margins
_UNITS = (("hours", 1.0), ("minutes", 60.0), ("seconds", 3600.0))

_Cost = tuple[str, list[float]]
"""Title of an axis, and the cost of each row."""


def draw_efficiency(rows: Sequence[Efficiency], references: Sequence[str]) -> Drawing | None:
    """Draw a panel for each cost in which rows differ; return None while there is none.

    Rows without accuracy are left out. A dashed line joins those on the front.
    """
    shown = [row for row in rows if row.accuracy is not None and row.total_hours]
    costs = [cost for cost in _costs(shown) if len(set(cost[1])) > 1]
    if not costs:
        return None
    roles = list(dict.fromkeys(row.role for row in shown))
    titles = {row.role: row.title for row in shown}
    width = max(_PANEL_WIDTH * len(costs) + 0.4, 5.4)
    legend_lines, legend_columns = legend_shape(list(titles.values()), width)
    height = _PANEL_HEIGHT + 0.18 + LEGEND_LINE_INCHES * legend_lines
    drawing = Drawing(
        width=width, height=height, title="Accuracy and its cost", caption=_caption(rows)
    )
    styles = role_styles(roles, references)
    for i, cost in enumerate(costs):
        inner_width = 2.75 if len(costs) > 1 else width - 0.85
        box = (0.62 + _PANEL_WIDTH * i, height - 2.35, inner_width, 2.05)
        drawing.begin_part((box[0] - 0.62, box[1] - 0.53, box[2] + 0.75, box[3] + 0.83))
        _draw_panel(drawing, shown, cost, styles, box=box, is_first=i == 0)
    draw_legend(
        drawing,
        [(styles[role], titles[role]) for role in roles],
        middle=width / 2,
        top=0.08 + LEGEND_LINE_INCHES * legend_lines,
        num_columns=legend_columns,
        has_lines=False,
    )
    return drawing


def _costs(rows: Sequence[Efficiency]) -> list[_Cost]:
    hours = [row.total_hours or 0.0 for row in rows]
    longest = max(hours, default=0.0)
    unit, factor = next((each for each in _UNITS if longest * each[1] >= 1), _UNITS[-1])
    return [
        (f"device-{unit}, with teachers", [factor * value for value in hours]),
        ("10⁹ multiply-adds of a clip", [row.gmac or 0.0 for row in rows]),
    ]


def _draw_panel(
    drawing: Drawing,
    rows: Sequence[Efficiency],
    cost: _Cost,
    styles: dict[str, RoleStyle],
    *,
    box: tuple[float, float, float, float],
    is_first: bool,
) -> None:
    title, values = cost
    accuracy = [row.accuracy or 0.0 for row in rows]
    panel = Panel(box=box, x=range_of([0.0, *values]), y=range_of(accuracy))
    y_title = "top-1 accuracy (%)" if is_first else ""
    x = Axis(ticks=round_ticks(panel.x, at_most=6), title=title)
    y = Axis(ticks=round_ticks(panel.y, at_most=8), title=y_title)
    draw_frame(drawing, panel, title="", x=x, y=y)
    places = [panel.place(*pair) for pair in zip(values, accuracy, strict=True)]
    if is_first:
        front = sorted(place for place, row in zip(places, rows, strict=True) if row.is_on_front)
        drawing.add(Strokes(lines=(tuple(front),), colour=FAINT, width=1.0, dashes=(3.0, 3.0)))
    several = len({row.network for row in rows}) > 1
    for place, row in zip(places, rows, strict=True):
        style = styles[row.role]
        marks = {"shape": style.marker, "size": MARKER_POINTS, "colour": style.colour}
        drawing.add(Markers(at=(place,), edge=WHITE, **marks))
        if several:
            is_right = place[0] > box[0] + 0.7 * box[2]  # there its name would leave the panel
            at = place[0] + (-0.06 if is_right else 0.06), place[1] + 0.03
            drawing.add(
                Label(
                    at=at,
                    text=row.network,
                    points=MINOR_POINTS,
                    colour=FAINT,
                    align="right" if is_right else "left",
                )
            )


def _caption(rows: Sequence[Efficiency]) -> str:
    front = (
        "The dashed line joins the networks that no other one beats at the same or fewer hours."
        if any(row.is_on_front for row in rows)
        else "No front is drawn until all networks are measured."
    )
    return (
        "Mean accuracy over cases and seeds by the cost of one run. Hours of a student are those "
        f"of its teachers and their pretraining, too. {front}"
    )
