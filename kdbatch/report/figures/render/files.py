"""Draws figures as PNG and PDF with matplotlib, whose renderers are called mark by mark.

Axes, ticks and texts of matplotlib are objects, of which a figure has hundreds; they are laid out
again for each of its two files, and were four fifths of the time of a report.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import GraphicsContextBase, RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextToPath
from matplotlib.transforms import Affine2D, Bbox

from kdbatch.base.output.visible_text import visible
from kdbatch.report.figures.drawing import (
    MISSING_COLOUR,
    Area,
    Drawing,
    DrawnMark,
    InchBox,
    Label,
    Markers,
    Picture,
    Strokes,
)
from kdbatch.report.figures.render.fonts import (
    BASE_FAMILY,
    CHARACTERS,
    SUBSET_FAMILY,
    register_fonts,
)
from kdbatch.report.figures.render.shapes import (
    ALIGNMENTS,
    ANCHORS,
    MARKER_EDGE_POINTS,
    share_of_limits,
)

DOTS_PER_INCH = 160
PNG_LEVEL = 3  # of zlib: half of the time of its usual 6, and files a fifth longer
SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # text stays text
    # At this resolution nobody sees the difference, and hinting is half of the time of text.
    "text.hinting": "none",
}
_PLAIN = frozenset(map(chr, CHARACTERS))


def draw_png(drawing: Drawing) -> bytes:
    """Return a figure as PNG, without the version of the program."""
    fast = {"compress_level": PNG_LEVEL}
    return _file(drawing, format="png", metadata={"Software": None}, pil_kwargs=fast)


def draw_pdf(drawing: Drawing) -> bytes:
    """Return a figure as PDF, without its date and the version of the program."""
    return _file(drawing, format="pdf", metadata={"CreationDate": None, "Producer": None})


def _file(drawing: Drawing, **settings: Any) -> bytes:
    with _settings():
        figure = Figure((drawing.width, drawing.height), dpi=DOTS_PER_INCH, facecolor="white")
        FigureCanvasAgg(figure)
        figure.add_artist(_Marks(drawing))
        file = io.BytesIO()
        figure.savefig(file, **settings)
    return file.getvalue()


@contextmanager
def _settings() -> Iterator[None]:
    """Use our settings while a figure is drawn; restore matplotlib's own afterwards."""
    register_fonts()
    with mpl.rc_context(SETTINGS), warnings.catch_warnings():
        # A box stands for a character that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


class _Marks(Artist):
    """All marks of a drawing, as one object of matplotlib."""

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self._drawing = drawing

    def draw(self, renderer: RendererBase) -> None:
        canvas = _Canvas(renderer)
        for mark in self._drawing.marks:
            canvas.draw(mark)


class _Canvas:
    """A renderer, whose unit of length is a dot, or a point in a PDF."""

    def __init__(self, renderer: RendererBase) -> None:
        self.renderer = renderer
        self.per_point = float(np.asarray(renderer.points_to_pixels(1.0)))
        self.from_inches = Affine2D().scale(72 * self.per_point)

    def draw(self, mark: DrawnMark) -> None:
        _FUNCTIONS[type(mark)](self, mark)

    def brush(self, colour: str, width: float) -> GraphicsContextBase:
        """Settings for strokes of a width in points."""
        brush = self.renderer.new_gc()
        brush.set_foreground(to_rgba(colour), isRGBA=True)
        brush.set_linewidth(width)
        brush.set_capstyle("butt")
        return brush

    def clip(self, brush: GraphicsContextBase, box: InchBox) -> None:
        brush.set_clip_rectangle(Bbox.from_bounds(*box).transformed(self.from_inches))

    def area(self, mark: Area) -> None:
        brush = self.brush(mark.colour, 0.0)
        self.clip(brush, mark.clip)
        brush.set_alpha(mark.opacity)
        corners = [*mark.corners, mark.corners[0]]
        codes = [*_codes(len(mark.corners)), Outline.CLOSEPOLY]
        fill = to_rgba(mark.colour, mark.opacity)
        self.renderer.draw_path(brush, Outline(corners, codes), self.from_inches, fill)
        brush.restore()

    def strokes(self, mark: Strokes) -> None:
        brush = self.brush(mark.colour, mark.width)
        if mark.dashes:
            brush.set_dashes(0, [mark.width * part for part in mark.dashes])
        else:
            brush.set_capstyle("projecting")
        if mark.clip:
            self.clip(brush, mark.clip)
        points = [point for line in mark.lines for point in line]
        codes = [code for line in mark.lines for code in _codes(len(line))]
        if points:
            self.renderer.draw_path(brush, Outline(points, codes), self.from_inches)
        brush.restore()

    def markers(self, mark: Markers) -> None:
        if not mark.at:
            return
        style = MarkerStyle(mark.shape)
        brush = self.brush(mark.edge or mark.colour, MARKER_EDGE_POINTS if mark.edge else 1.0)
        brush.set_joinstyle(style.get_joinstyle())
        self.renderer.draw_markers(
            brush,
            style.get_path(),
            style.get_transform() + Affine2D().scale(mark.size * self.per_point),
            Outline(mark.at),
            self.from_inches,
            to_rgba(mark.colour) if style.is_filled() else None,
        )
        brush.restore()

    def picture(self, mark: Picture) -> None:
        """Draw in dots of the image: each has the colour of the matrix at its middle."""
        left, bottom, width, height = (72 * self.per_point * length for length in mark.box)
        per_unit = self.renderer.get_image_magnification()
        num_rows, num_columns = mark.value_LM.shape
        row = _nearest(round(height * per_unit), num_rows)
        column = _nearest(round(width * per_unit), num_columns)
        colours = mpl.colormaps[mark.colours].with_extremes(bad=MISSING_COLOUR)
        shown_LM = np.ma.masked_invalid(share_of_limits(mark))
        rgba = colours(shown_LM, bytes=True)[row[::-1, None], column]  # from below
        brush = self.renderer.new_gc()
        self.renderer.draw_image(brush, round(left), round(bottom), np.ascontiguousarray(rgba))
        brush.restore()

    def label(self, mark: Label) -> None:
        """Draw the characters of the text: it is no formula, and of one line."""
        text = visible(mark.text)
        if not text.strip():
            return
        is_plain = _PLAIN.issuperset(text)
        right = -ALIGNMENTS[mark.align]
        if right:
            right *= mark.points / 72 * _relative_width(text, mark.is_bold, is_plain)
        up = -ANCHORS[mark.anchor] * mark.points / 72
        cosine, sine = math.cos(math.radians(mark.degrees)), math.sin(math.radians(mark.degrees))
        x = mark.at[0] + cosine * right - sine * up
        y = mark.at[1] + sine * right + cosine * up
        x, y = (72 * self.per_point * length for length in (x, y))
        if self.renderer.flipy():
            y = self.renderer.get_canvas_width_height()[1] - y
        brush = self.renderer.new_gc()
        brush.set_foreground(to_rgba(mark.colour), isRGBA=True)
        font = _font(mark.points, mark.is_bold, is_plain)
        self.renderer.draw_text(brush, x, y, text, font, mark.degrees, ismath=False)
        brush.restore()


_FUNCTIONS: dict[type, Callable[[_Canvas, Any], None]] = {
    Strokes: _Canvas.strokes,
    Area: _Canvas.area,
    Markers: _Canvas.markers,
    Picture: _Canvas.picture,
    Label: _Canvas.label,
}


def _nearest(num_dots: int, num_cells: int) -> np.ndarray:
    """The cell of a row of cells in which the middle of each dot lies."""
    return ((np.arange(num_dots) + 0.5) * num_cells / num_dots).astype(int)


def _codes(num_points: int) -> list[Any]:
    return [Outline.MOVETO, *[Outline.LINETO] * (num_points - 1)] if num_points else []


@cache
def _font(points: float, is_bold: bool, is_plain: bool) -> FontProperties:
    """The subset font, followed by the whole one where a text has other characters."""
    family = [SUBSET_FAMILY] if is_plain else [SUBSET_FAMILY, BASE_FAMILY]
    return FontProperties(family=family, size=points, weight="bold" if is_bold else "normal")


@cache
def _relative_width(text: str, is_bold: bool, is_plain: bool) -> float:
    """The width of a text in units of its size."""
    font = _font(100.0, is_bold, is_plain)
    return TextToPath().get_text_width_height_descent(text, font, ismath=False)[0] / 100
