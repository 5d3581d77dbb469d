import itertools

import pytest
from matplotlib.ticker import MaxNLocator

from kdbatch.report.figures.drawing import Drawing, Label, Markers, Strokes, panel_grid
from kdbatch.report.figures.panels import (
    Axis,
    Panel,
    draw_frame,
    draw_legend,
    legend_shape,
    range_of,
    round_ticks,
)
from kdbatch.report.figures.role_styles import role_styles
from kdbatch.report.labels import MINUS


def texts(drawing: Drawing) -> list[str]:
    return [mark.text for mark in drawing.marks if isinstance(mark, Label) and mark.text]


def test_panels_fill_their_rows_evenly() -> None:
    shapes = {n: panel_grid(n, max_columns=3) for n in (0, 1, 3, 4, 5, 7)}
    assert shapes == {0: (0, 0), 1: (1, 1), 3: (1, 3), 4: (2, 2), 5: (2, 3), 7: (3, 3)}


def test_a_legend_of_long_labels_takes_more_lines_instead_of_leaving_the_figure() -> None:
    assert legend_shape(["T1", "T2", "student", "labels"], 5.4) == (1, 4)
    assert legend_shape(["a network with pretrained features, linear probe"] * 4, 5.4) == (4, 1)
    assert legend_shape(["x" * 400], 1.0) == (1, 1) and legend_shape([], 5.4)[1] == 1


@pytest.mark.parametrize("limits", [(38.1, 89.0), (-41.4, 43.6), (0, 102), (-0.05, 1.05)])
@pytest.mark.parametrize("at_most", [4, 7, 9])
def test_ticks_are_those_of_matplotlib(limits: tuple[float, float], at_most: int) -> None:
    locator = MaxNLocator(nbins=at_most, steps=[1, 2, 2.5, 5, 10])
    low, high = limits
    expected = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
    assert [tick for tick, _ in round_ticks(limits, at_most=at_most)] == pytest.approx(expected)


def test_labels_of_ticks_have_the_digits_of_their_step() -> None:
    assert [text for _, text in round_ticks((0.0, 1.0), at_most=4)] == [
        "0.00",
        "0.25",
        "0.50",
        "0.75",
        "1.00",
    ]
    assert [text for _, text in round_ticks((-11, 11), at_most=4)] == [f"{MINUS}10", "0", "10"]
    assert [text for _, text in round_ticks((0, 1e5), at_most=2)] == ["0", "50000", "100000"]


@pytest.mark.parametrize(
    "values",
    [(3.0,), (0.0, 0.0), (0, 5e-324), (1e16, 1e16 + 2), (-1.7e308, 1.7e308), (1e-310, 2e-310)],
)
def test_every_range_has_ticks(values: tuple[float, ...]) -> None:
    limits = range_of(values)
    assert limits[0] < limits[1]
    ticks = [tick for tick, _ in round_ticks(limits, at_most=8)]
    assert 1 <= len(ticks) <= 10
    slack = 1e-6 * (limits[1] - limits[0])
    assert all(limits[0] - slack <= tick <= limits[1] + slack for tick in ticks)


def test_a_frame_has_its_ticks_at_their_numbers() -> None:
    drawing = Drawing(width=4, height=3, title="", caption="")
    panel = Panel(box=(1.0, 0.5, 2.0, 1.0), x=(0.0, 4.0), y=(10.0, 20.0))
    assert panel.place(2.0, 15.0) == (2.0, 1.0)
    x = Axis(ticks=((1.0, "10k"),), title="subset", has_grid=False)
    y = Axis(ticks=((15.0, "15"),), title="accuracy")
    draw_frame(drawing, panel, title="UCF101", x=x, y=y)
    assert texts(drawing) == ["10k", "15", "subset", "accuracy", "UCF101"]
    grid, axes = (mark for mark in drawing.marks if isinstance(mark, Strokes))
    assert grid.lines == (((1.0, 1.0), (3.0, 1.0)),)
    assert axes.lines[1][0] == (1.5, 0.5) and axes.lines[2][0] == (1.0, 1.0)


def test_a_legend_fills_its_columns_one_after_the_other() -> None:
    roles = ["T1", "T2", "student", "labels_only", "other"]
    styles = role_styles(roles)
    drawing = Drawing(width=6, height=1, title="", caption="")
    entries = [(styles[role], role) for role in roles]
    draw_legend(drawing, entries, middle=3.0, top=0.9, num_columns=2)
    places = {m.text: m.at for m in drawing.marks if isinstance(m, Label)}
    assert [places[role][0] for role in roles[:3]] == [places["T1"][0]] * 3
    assert places["other"][0] == places["labels_only"][0] > places["T1"][0]
    heights = [places[role][1] for role in roles[:3]]
    assert all(a > b for a, b in itertools.pairwise(heights))
    assert len([m for m in drawing.marks if isinstance(m, Markers)]) == 5
