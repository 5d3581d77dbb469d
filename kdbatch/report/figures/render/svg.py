"""Writes drawings as SVG inside the page: with its colours and its font, and without matplotlib."""

import base64
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from kdbatch.base.output.visible_text import visible
from kdbatch.report.escape import escape_html
from kdbatch.report.figures.drawing import (
    FAINT,
    GRID,
    INK,
    WHITE,
    Area,
    Drawing,
    DrawnMark,
    InchBox,
    Label,
    Markers,
    Picture,
    Point,
    Strokes,
)
from kdbatch.report.figures.render.shapes import (
    ANCHORS,
    MARKER_EDGE_POINTS,
    colour_indexes,
    outline,
    palette,
    points_of,
)
from kdbatch.report.figures.role_styles import CONTROLS, REFERENCE, STUDENT, TEACHERS

PIXELS_PER_INCH = 106  # of CSS: three panels of 3.3 inches stand side by side in the page
# The page's own colours, which html/page.css has for light and for dark paper.
VARIABLES = {
    INK: "ink",
    REFERENCE: "ink",
    FAINT: "faint",
    GRID: "line",
    WHITE: "paper",
    STUDENT: "student",
    **{colour: f"teacher-{i}" for i, colour in enumerate(TEACHERS)},
    **{colour: f"control-{i}" for i, colour in enumerate(CONTROLS)},
}
_ALIGNMENTS = {"left": "", "center": ' text-anchor="middle"', "right": ' text-anchor="end"'}


def svg_parts(drawing: Drawing) -> tuple[list[str], list[str]]:
    """Return one `<svg>` for each part of a figure, and for each part of its key."""
    panels, key = (drawing.parts(is_key=is_key) for is_key in (False, True))
    return [_svg(*part, drawing.title) for part in panels], [_svg(*part, "Key") for part in key]


def _svg(box: InchBox, marks: Sequence[DrawnMark], title: str) -> str:
    width, height = (72 * length for length in box[2:])
    place = _Place(box)
    contents = "".join(_WRITERS[type(mark)](mark, place) for mark in marks)
    pixels = round(box[2] * PIXELS_PER_INCH)
    return (
        f'<svg viewBox="0 0 {_number(width)} {_number(height)}" style="width:{pixels}px" '
        f'role="group" aria-label="{escape_html(title)}">{contents}</svg>'
    )


class _Place:
    """From inches in a figure to points of a part, with y downwards."""

    def __init__(self, box: InchBox) -> None:
        self._left, bottom, _, height = box
        self._top = bottom + height

    def __call__(self, at: Point) -> Point:
        return points_of((at[0] - self._left, self._top - at[1]))

    def box(self, box: InchBox) -> tuple[float, float, float, float]:
        x, y = self((box[0], box[1] + box[3]))
        return x, y, 72 * box[2], 72 * box[3]


def _strokes(mark: Strokes, place: _Place) -> str:
    lines = "".join(_path([place(at) for at in line]) for line in mark.lines if line)
    if not lines:
        return ""
    dashes = " ".join(_number(mark.width * part) for part in mark.dashes)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    axes = " ".join(f"{number:g}" for number in mark.axes)
    data = f' data-curve="{escape_html(mark.name)}" data-axes="{axes}"' if mark.name else ""
    path = (
        f'<path d="{lines}" fill="none" stroke="{_colour(mark.colour)}" '
        f'stroke-width="{_number(mark.width)}"{dashed}{data}/>'
    )
    return _clipped(path, mark.clip, place)


def _area(mark: Area, place: _Place) -> str:
    corners = _path([place(at) for at in mark.corners])
    fill = f'fill="{_colour(mark.colour)}" fill-opacity="{mark.opacity}"'
    return _clipped(f'<path d="{corners}Z" {fill}/>', mark.clip, place)


def _clipped(path: str, clip: InchBox | None, place: _Place) -> str:
    """An inner `<svg>` hides what lies outside of it, and needs no id on the page."""
    if clip is None:
        return path
    x, y, width, height = map(_number, place.box(clip))
    size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<svg {size} viewBox="{x} {y} {width} {height}">{path}</svg>'


def _markers(mark: Markers, place: _Place) -> str:
    corners = [(mark.size * x, -mark.size * y) for x, y in outline(mark.shape)]
    polygons = ""
    for at in mark.at:
        x, y = place(at)
        polygons += _path([(x + right, y + down) for right, down in corners]) + "Z"
    edge = (
        f' stroke="{_colour(mark.edge)}" stroke-width="{MARKER_EDGE_POINTS}"' if mark.edge else ""
    )
    return f'<path d="{polygons}" fill="{_colour(mark.colour)}"{edge}/>' if polygons else ""


def _picture(mark: Picture, place: _Place) -> str:
    """One pixel for each entry: the browser enlarges it without blur."""
    x, y, width, height = map(_number, place.box(mark.box))
    uri = "data:image/png;base64," + base64.b64encode(_png(mark)).decode("ascii")
    return (
        f'<image href="{uri}" x="{x}" y="{y}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none"{_entries(mark)}/>'
    )


def _entries(mark: Picture) -> str:
    """The names and the values of a matrix: a byte for each, in hundredths above -1."""
    if not mark.rows:
        return ""
    hundredths_LM = np.clip(100 * mark.value_LM.round(2) + 100, 0, 254)
    byte_LM = np.where(np.isnan(hundredths_LM), 255, hundredths_LM).round().astype(np.uint8)
    values = base64.b64encode(byte_LM.tobytes()).decode("ascii")
    names = (f"{escape_html(json.dumps(side))}" for side in (mark.rows, mark.columns))
    rows, columns = names
    label = f"{len(mark.rows)} by {len(mark.columns)} layers; arrow keys move between them"
    return (
        f' data-rows="{rows}" data-columns="{columns}" data-values="{values}" tabindex="0" '
        f'role="application" aria-label="{label}"'
    )


def _label(mark: Label, place: _Place) -> str:
    text = visible(mark.text)
    if not text.strip():
        return ""
    x, y = place(mark.at)
    down = ANCHORS[mark.anchor] * mark.points
    at = f'x="{_number(x)}" y="{_number(y + down)}"'
    if mark.degrees:
        turn = f"translate({_number(x)} {_number(y)}) rotate({_number(-mark.degrees)})"
        at = f'y="{_number(down)}" transform="{turn}"'
    bold = ' font-weight="650"' if mark.is_bold else ""
    return (
        f'<text {at} font-size="{_number(mark.points)}" fill="{_colour(mark.colour)}"'
        f"{_ALIGNMENTS[mark.align]}{bold}>{escape_html(text)}</text>"
    )


_WRITERS: dict[type, Callable[[Any, _Place], str]] = {
    Strokes: _strokes,
    Area: _area,
    Markers: _markers,
    Picture: _picture,
    Label: _label,
}


def _colour(colour: str) -> str:
    return f"var(--{VARIABLES[colour]})" if colour in VARIABLES else colour


def _path(places: Sequence[Point]) -> str:
    numbers = [f"{_number(x)} {_number(y)}" for x, y in places]
    return f"M{'L'.join(numbers)}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _png(mark: Picture) -> bytes:
    """A PNG with the colours of the palette, one pixel for each entry."""
    image = Image.fromarray(colour_indexes(mark))
    image.putpalette(palette(mark.colours).tobytes())
    file = BytesIO()
    image.save(file, format="png", optimize=True)
    return file.getvalue()
