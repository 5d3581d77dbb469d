import re
import zlib
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from kdbatch.report.figures.drawing import (
    Drawing,
    DrawnMark,
    Label,
    Markers,
    Picture,
    Strokes,
)
from kdbatch.report.figures.render.files import DOTS_PER_INCH, draw_pdf, draw_png
from kdbatch.report.figures.render.shapes import palette
from kdbatch.report.figures.render.svg import svg_parts

BLACK = "#000000"


def drawing_of(*marks: DrawnMark) -> Drawing:
    return Drawing(width=2.0, height=1.0, title="A title", caption="", marks=list(marks))


def darkness(*marks: DrawnMark) -> np.ndarray:
    """The image of some marks: 0 where it is white, 1 where it is black."""
    png = draw_png(drawing_of(*marks))
    return 1 - imread(BytesIO(png))[..., :3].mean(axis=-1)


def inches_of(dark: np.ndarray) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of what is dark."""
    rows, columns = np.nonzero(dark > 0.3)
    top, bottom = dark.shape[0] - rows.min(), dark.shape[0] - rows.max() - 1
    edges = columns.min(), bottom, columns.max() + 1, top
    return tuple(edge / DOTS_PER_INCH for edge in edges)  # pyright: ignore


def test_equal_drawings_give_equal_files_without_dates() -> None:
    drawing = drawing_of(Label(at=(0.1, 0.5), text="text", points=8))
    assert draw_pdf(drawing) == draw_pdf(drawing) and draw_png(drawing) == draw_png(drawing)
    assert b"CreationDate" not in draw_pdf(drawing) and b"Software" not in draw_png(drawing)


def test_matplotlibs_own_settings_are_restored() -> None:
    before = dict(mpl.rcParams)
    draw_png(drawing_of(Label(at=(0.1, 0.5), text="text", points=8)))
    assert dict(mpl.rcParams) == before


def test_a_stroke_has_its_place_and_its_width_in_points() -> None:
    line = ((0.5, 0.25), (1.5, 0.25))
    dark = darkness(Strokes(lines=(line,), colour=BLACK, width=9.0))
    left, bottom, right, top = inches_of(dark)
    assert top - bottom == pytest.approx(9 / 72, abs=0.015)
    assert (top + bottom) / 2 == pytest.approx(0.25, abs=0.01)
    assert right - left == pytest.approx(1.0 + 9 / 72, abs=0.02)  # the ends project


def test_dashes_are_in_widths_and_nothing_is_drawn_outside_the_clip() -> None:
    line = ((0.0, 0.5), (2.0, 0.5))
    stroke = Strokes(
        lines=(line,), colour=BLACK, width=3.6, dashes=(4.0, 4.0), clip=(0.5, 0.0, 1.0, 1.0)
    )
    left, _, right, _ = inches_of(darkness(stroke))
    assert left >= 0.49 and right <= 1.51
    row = darkness(stroke)[DOTS_PER_INCH // 2] > 0.5
    assert int(np.diff(row.astype(int)).clip(0).sum()) == pytest.approx(1.0 / 0.4, abs=1)


@pytest.mark.parametrize(("align", "at"), [("left", 0.5), ("center", 1.0), ("right", 1.5)])
def test_a_label_is_aligned_at_its_point(align: str, at: float) -> None:
    label = Label(at=(at, 0.5), text="HHHH", points=14, align=align, anchor="middle")  # pyright: ignore
    left, bottom, right, top = inches_of(darkness(label))
    place = {"left": left, "center": (left + right) / 2, "right": right}[align]
    assert place == pytest.approx(at, abs=0.03)
    assert (bottom + top) / 2 == pytest.approx(0.5, abs=0.02)


def test_a_label_is_turned_about_its_point() -> None:
    label = Label(at=(1.0, 0.1), text="HHHH", points=14, degrees=90)
    left, bottom, right, top = inches_of(darkness(label))
    assert bottom == pytest.approx(0.1, abs=0.03) and top > 0.5
    assert right == pytest.approx(1.0, abs=0.02) and left > 0.8


def test_text_of_a_pdf_stays_text_and_its_font_has_the_letters_that_occur() -> None:
    pdf = draw_pdf(drawing_of(Label(at=(0.1, 0.5), text="CKA ≥", points=8)))
    assert b"/CIDFontType2" in pdf
    streams = [zlib.decompress(s) for s in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.S)]
    names = b"".join(stream for stream in streams if b"begincmap" in stream)
    for letter in "CKA≥":
        assert letter.encode("utf-16be").hex().encode() in names


def test_a_character_that_the_subset_lacks_is_drawn_from_the_whole_font() -> None:
    # U+0416, a Cyrillic letter: DejaVu Sans has it, the subset has not.
    known = darkness(Label(at=(0.5, 0.3), text="\u0416", points=30))
    box = darkness(Label(at=(0.5, 0.3), text="\U000f0000", points=30))
    assert known.sum() > 100 and not np.array_equal(known, box)


def test_markers_have_their_size_and_an_edge() -> None:
    square = Markers(at=((1.0, 0.5),), shape="s", size=36, colour=BLACK)
    left, bottom, right, top = inches_of(darkness(square))
    assert right - left == pytest.approx(0.5, abs=0.03) == top - bottom
    with_edge = Markers(at=((1.0, 0.5),), shape="s", size=36, colour=BLACK, edge="#ffffff")
    assert darkness(with_edge).sum() < darkness(square).sum()
    for shape in ("o", "D", "^", "v", "X", "P", "*", "h"):
        assert darkness(Markers(at=((1.0, 0.5),), shape=shape, size=9, colour=BLACK)).sum() > 20


def test_colours_of_matrices_are_those_of_matplotlib() -> None:
    for name in ("viridis", "cividis", "RdBu_r"):
        expected = 255 * mpl.colormaps[name](np.linspace(0, 1, 255))[:, :3]
        assert np.abs(palette(name)[:-1] - expected).max() < 12


def test_an_svg_has_the_pages_colours_and_its_text_and_its_parts_their_marks() -> None:
    drawing = drawing_of(Label(at=(0.1, 0.5), text="a < b", points=8))
    (svg,), _ = svg_parts(drawing)
    assert (
        'fill="var(--ink)"' in svg and ">a &lt; b</text>" in svg and 'viewBox="0 0 144 72"' in svg
    )
    parts = Drawing(width=2.0, height=1.0, title="", caption="")
    for left, text in ((0.0, "left"), (1.0, "right")):
        parts.begin_part((left, 0.0, 1.0, 1.0))
        parts.add(Label(at=(left + 0.5, 0.25), text=text, points=8))
    (first, second), _ = svg_parts(parts)
    assert "left</text>" in first and "right</text>" in second and "right" not in first
    assert 'x="36" y="54"' in first and 'x="36" y="54"' in second


def test_the_first_row_of_a_picture_is_at_the_top_and_nan_is_grey() -> None:
    value = np.array([[0.0, 1.0], [np.nan, 0.5]])
    picture = Picture(box=(0.5, 0.0, 1.0, 1.0), value_LM=value, colours="viridis")
    png, pdf = draw_png(drawing_of(picture)), draw_pdf(drawing_of(picture))
    image = imread(BytesIO(png))[..., :3]
    viridis = mpl.colormaps["viridis"]
    for (row, column), colour in {
        (40, 120): viridis(0.0),
        (40, 200): viridis(1.0),
        (120, 200): viridis(0.5),
        (120, 120): (0.82, 0.84, 0.86),
        (40, 60): (1, 1, 1),
    }.items():
        assert image[row, column] == pytest.approx(np.array(colour[:3]), abs=0.01)
    assert b"/Subtype /Image" in pdf


def test_numbers_far_outside_are_drawn_without_an_error() -> None:
    line = ((0.5, 0.5), (1e300, -1e300), (1.0, 0.5))
    dark = darkness(Strokes(lines=(line,), colour=BLACK, width=1, clip=(0, 0, 1, 1)))
    assert dark[:, dark.shape[1] // 2 + 2 :].max() == 0  # nothing right of the clip


def test_marks_without_places_leave_the_page_white() -> None:
    assert darkness(Strokes(lines=(), colour=BLACK, width=1)).max() == 0
    assert darkness(Markers(at=(), shape="o", size=1, colour=BLACK)).max() == 0
