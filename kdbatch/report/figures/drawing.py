"""A figure as data: strokes, markers, pictures and labels, placed in inches from the lower left.

It is made without matplotlib, so that a report can tell whether a figure differs from the one that
is on the disk before it draws anything (saved.py).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

INK, FAINT, GRID, WHITE = "#1f2328", "#6b7280", "#e5e7eb", "#ffffff"
# Of texts on a picture, which has the same colours on light and on dark paper; the page gives the
# colours above, and those of the roles, by its own scheme.
ON_DARK, ON_LIGHT = "#fafafa", "#0a0a0a"
MISSING_COLOUR = "#d1d5db"
DASHED = (3.7, 1.6)  # in widths of the line
MINOR_POINTS = 7.0  # the smallest text

Point = tuple[float, float]
InchBox = tuple[float, float, float, float]  # left, bottom, width, height
ColourMap = Literal["viridis", "cividis", "RdBu_r"]
Align = Literal["left", "center", "right"]
Anchor = Literal["top", "middle", "baseline", "bottom"]


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """Lines of one colour and width in points; `dashes` are in widths, and none is drawn outside
    `clip`. The page shows the values of a line that has a `name`: `axes` are the numbers at the
    left, the right, the lower and the upper edge of `clip`.
    """

    lines: tuple[tuple[Point, ...], ...]
    colour: str
    width: float
    dashes: tuple[float, ...] = ()
    clip: InchBox | None = None
    name: str = ""
    axes: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Markers:
    """A marker of matplotlib at each point, `size` points wide; with an edge of another colour."""

    at: tuple[Point, ...]
    shape: str
    size: float
    colour: str
    edge: str = ""


@dataclass(frozen=True, kw_only=True)
class Area:
    """A polygon, filled so that what is below it can be seen, and not drawn outside `clip`."""

    corners: tuple[Point, ...]
    colour: str
    opacity: float
    clip: InchBox


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A matrix in colours, which run between the `limits`; its first row at the top, NaN is grey.

    `rows` and `columns` name its entries for the page: there each can be read.
    """

    box: InchBox
    value_LM: np.ndarray
    colours: ColourMap
    limits: tuple[float, float] = (0.0, 1.0)
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __repr__(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.value_LM, np.float64).tobytes())
        how = self.box, self.colours, self.limits, self.value_LM.shape
        return f"Picture({how}, {digest.hexdigest()})"


@dataclass(frozen=True, kw_only=True)
class Label:
    """A line of text. `at` is the point that `align` and `anchor` name, about which it is turned
    by `degrees`.
    """

    at: Point
    text: str
    points: float
    colour: str = INK
    align: Align = "left"
    anchor: Anchor = "baseline"
    degrees: float = 0.0
    is_bold: bool = False


DrawnMark = Strokes | Area | Markers | Picture | Label


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of some inches; later marks are drawn above earlier ones.

    A figure may have parts, which the page sets next to or below each other as its width allows:
    each has the marks that were added after its `begin_part`, and shows what lies in its box.
    The page shows one figure of each `family`, by its reader's choice.
    """

    width: float
    height: float
    title: str
    caption: str
    family: str = field(default="", repr=False)
    marks: list[DrawnMark] = field(default_factory=list)
    part_starts: list[tuple[int, InchBox, bool]] = field(default_factory=list, repr=False)

    def begin_part(self, box: InchBox, *, is_key: bool = False) -> None:
        """`is_key`: the part explains others, and stands below them."""
        self.part_starts.append((len(self.marks), box, is_key))

    def parts(self, *, is_key: bool) -> list[tuple[InchBox, list[DrawnMark]]]:
        """The box and the marks of each part; a figure without parts is one."""
        starts = self.part_starts or [(0, (0.0, 0.0, self.width, self.height), False)]
        ends = [*(start for start, *_ in starts[1:]), len(self.marks)]
        parts = zip(starts, ends, strict=True)
        return [(box, self.marks[i:j]) for (i, box, of_key), j in parts if of_key == is_key]

    def add(self, *marks: DrawnMark) -> None:
        self.marks.extend(marks)

    @property
    def digest(self) -> str:
        """The sha256 of all that is drawn."""
        return hashlib.sha256(repr(self).encode(errors="surrogatepass")).hexdigest()


def panel_grid(num_panels: int, *, max_columns: int) -> tuple[int, int]:
    """Return (rows, columns) for some panels: as few rows as possible, filled evenly.

    Four panels in at most three columns are two rows of two.
    """
    rows = -(-num_panels // max_columns)
    return rows, -(-num_panels // max(rows, 1))


def labels_below(
    drawing: Drawing, places: Sequence[float], texts: Sequence[str], *, y: float, degrees: float
) -> None:
    """Draw ticks downwards from `y` at the x `places`, and turned texts below them, if any."""
    _add_ticks(drawing, [((x, y), (x, y - _TICK_INCHES)) for x in places])
    for x, text in zip(places, texts, strict=False):
        at = x + (MINOR_POINTS / 72 * 0.36 if degrees == 90 else 0.0), y - _TEXT_INCHES
        anchor: Anchor = "baseline" if degrees == 90 else "top"
        drawing.add(
            Label(
                at=at,
                text=text,
                points=MINOR_POINTS,
                align="right" if degrees else "center",
                anchor=anchor,
                degrees=degrees,
            )
        )


def labels_beside(
    drawing: Drawing,
    places: Sequence[float],
    texts: Sequence[str],
    *,
    x: float,
    side: Literal["left", "right"],
) -> None:
    """Draw ticks sidewards from `x` at the y `places`, and texts next to them, if any."""
    sign = -1 if side == "left" else 1
    _add_ticks(drawing, [((x, y), (x + sign * _TICK_INCHES, y)) for y in places])
    for y, text in zip(places, texts, strict=False):
        drawing.add(
            Label(
                at=(x + sign * _TEXT_INCHES, y),
                text=text,
                points=MINOR_POINTS,
                align="right" if side == "left" else "left",
                anchor="middle",
            )
        )


def _add_ticks(drawing: Drawing, lines: Sequence[tuple[Point, Point]]) -> None:
    drawing.add(Strokes(lines=tuple(lines), colour=FAINT, width=0.6))


_TICK_INCHES, _TEXT_INCHES = 2.0 / 72, 5.5 / 72
