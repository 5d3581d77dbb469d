"""Draws figures as PNG: lines and colours with Agg, matplotlib's renderer, and text with Pillow.

Axes, ticks and texts of matplotlib are objects, of which a figure has hundreds; laying them out was
four fifths of the time of a report, and drawing their glyphs most of the rest.
"""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgba
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D, Bbox
from PIL import Image, ImageDraw, ImageFont

from kdbatch.base.output.visible_text import visible
from kdbatch.report.figures.drawing import Area, Drawing, Label, Markers, Picture, Strokes
from kdbatch.report.figures.render.fonts import font_path
from kdbatch.report.figures.render.shapes import (
    ALIGNMENTS,
    ANCHORS,
    MARKER_EDGE_POINTS,
    colour_indexes,
    outline,
    palette,
    points_of,
)

DOTS_PER_INCH = 160
DOTS_PER_POINT = DOTS_PER_INCH / 72
PNG_LEVEL = 3  # of zlib: half of the time of its usual 6, and files a fifth longer
_TO_DOTS = Affine2D().scale(DOTS_PER_POINT)


def draw_png(drawing: Drawing) -> bytes:
    """Return the file of a figure, without a date. Texts are above all other marks."""
    width, height = (round(DOTS_PER_INCH * length) for length in (drawing.width, drawing.height))
    canvas = RendererAgg(width, height, DOTS_PER_INCH)
    for mark in drawing.marks:
        if not isinstance(mark, Label):
            _DRAWERS[type(mark)](canvas, mark)
    rgba = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    image = Image.new("RGB", rgba.size, "white")
    image.paste(rgba, mask=rgba.getchannel("A"))
    for mark in drawing.marks:
        if isinstance(mark, Label):
            _draw_label(image, mark)
    file = io.BytesIO()
    image.save(file, format="png", compress_level=PNG_LEVEL)
    return file.getvalue()


def _brush(canvas: RendererAgg, colour: str, width: float) -> GraphicsContextBase:
    """Settings for strokes of a width in points."""
    brush = canvas.new_gc()
    brush.set_foreground(to_rgba(colour), isRGBA=True)
    brush.set_linewidth(width)
    brush.set_capstyle("butt")
    return brush


def _set_clip(brush: GraphicsContextBase, box: tuple[float, float, float, float]) -> None:
    brush.set_clip_rectangle(Bbox.from_bounds(*(DOTS_PER_INCH * length for length in box)))


def _strokes(canvas: RendererAgg, mark: Strokes) -> None:
    brush = _brush(canvas, mark.colour, mark.width)
    if mark.dashes:
        brush.set_dashes(0, [mark.width * part for part in mark.dashes])
    else:
        brush.set_capstyle("projecting")
    if mark.clip:
        _set_clip(brush, mark.clip)
    points = [points_of(place) for line in mark.lines for place in line]
    codes = [code for line in mark.lines for code in _codes(len(line))]
    if points:
        canvas.draw_path(brush, Outline(points, codes), _TO_DOTS)


def _area(canvas: RendererAgg, mark: Area) -> None:
    brush = _brush(canvas, mark.colour, 0.0)
    _set_clip(brush, mark.clip)
    path = Outline([points_of(place) for place in mark.corners])
    canvas.draw_path(brush, path, _TO_DOTS, to_rgba(mark.colour, mark.opacity))


def _markers(canvas: RendererAgg, mark: Markers) -> None:
    brush = _brush(canvas, mark.edge or mark.colour, MARKER_EDGE_POINTS if mark.edge else 0.0)
    corners = outline(mark.shape)
    shape = Outline((*corners, corners[0]))
    places = Outline([points_of(place) for place in mark.at]) if mark.at else None
    if places:
        bigger = Affine2D().scale(mark.size * DOTS_PER_POINT)
        canvas.draw_markers(brush, shape, bigger, places, _TO_DOTS, to_rgba(mark.colour))


def _picture(canvas: RendererAgg, mark: Picture) -> None:
    """Draw in dots of the image: each has the colour of the matrix at its middle."""
    left, bottom, width, height = (DOTS_PER_INCH * length for length in mark.box)
    row = _nearest(round(height), len(mark.value_LM))
    column = _nearest(round(width), mark.value_LM.shape[1])
    index = colour_indexes(mark)[row[::-1, None], column]  # from below
    rgba = np.dstack([palette(mark.colours)[index], np.full(index.shape, 255, np.uint8)])
    canvas.draw_image(canvas.new_gc(), round(left), round(bottom), np.ascontiguousarray(rgba))


_DRAWERS: dict[type, Callable[[RendererAgg, Any], None]] = {
    Strokes: _strokes,
    Area: _area,
    Markers: _markers,
    Picture: _picture,
}


def _draw_label(image: Image.Image, mark: Label) -> None:
    """Draw the characters of the text: it is no formula, and of one line."""
    text = visible(mark.text)
    if not text.strip():
        return
    font = _font(mark.points, mark.is_bold)
    x, y = (DOTS_PER_POINT * place for place in points_of(mark.at))
    right = -ALIGNMENTS[mark.align] * font.getlength(text)
    down = ANCHORS[mark.anchor] * mark.points * DOTS_PER_POINT
    if not mark.degrees:
        at = x + right, image.height - y + down
        ImageDraw.Draw(image).text(at, text, fill=mark.colour, font=font, anchor="ls")
        return
    # Turned about the middle of a square, which is then laid upon the image.
    middle = round(font.getlength(text) + 2 * font.size) + 1
    square = Image.new("L", (2 * middle, 2 * middle))
    at = middle + right, middle + down
    ImageDraw.Draw(square).text(at, text, fill=255, font=font, anchor="ls")
    turned = square.rotate(mark.degrees, resample=Image.Resampling.BICUBIC)
    corner = round(x) - middle, round(image.height - y) - middle
    image.paste(mark.colour, (*corner, corner[0] + 2 * middle, corner[1] + 2 * middle), turned)


@cache
def _font(points: float, is_bold: bool) -> ImageFont.FreeTypeFont:
    """Kerned by the font's table alone, which is drawn in a third of the time of shaped text."""
    return ImageFont.truetype(
        str(font_path(is_bold=is_bold)),
        size=points * DOTS_PER_POINT,
        layout_engine=ImageFont.Layout.BASIC,
    )


def _nearest(num_dots: int, num_cells: int) -> np.ndarray:
    """The cell of a row of cells in which the middle of each dot lies."""
    return ((np.arange(num_dots) + 0.5) * num_cells / num_dots).astype(int)


def _codes(num_points: int) -> list[Any]:
    return [Outline.MOVETO, *[Outline.LINETO] * (num_points - 1)] if num_points else []
