"""Common parts of all figures: canvas, style and layout; equal numbers give equal files."""

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, TICKRIGHT
from matplotlib.transforms import ScaledTranslation

from kdbatch.base.atomic_write import atomic_write
from kdbatch.report.figures.fonts import font_families

INK, FAINT, GRID = "#1f2328", "#6b7280", "#e5e7eb"
DOTS_PER_INCH = 160
PNG_LEVEL = 3  # of zlib: half of the time of its usual 6, and files a fifth longer
EDGE_FONT_POINTS, EDGE_TICK_POINTS, EDGE_LABEL_POINTS = 6.5, 2.0, 5.5
LEGEND_POINTS, LEGEND_LINE_INCHES = 7.5, 0.17
MAX_LEGEND_COLUMNS = 4
Edge = Literal["left", "right", "bottom"]
STYLE_SETTINGS: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    # Right above the axes: the search for a free position measures every label, twice per file.
    "axes.titley": 1.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
}


@dataclass(frozen=True, kw_only=True)
class SavedFigure:
    """A figure that was written as `name`.png and `name`.pdf, with its image for the page."""

    name: str
    title: str
    caption: str
    png: bytes
    width_pixels: int
    height_pixels: int

    @property
    def data_uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@contextmanager
def apply_style() -> Iterator[None]:
    """Use our settings while figures are drawn and written; restore matplotlib's own afterwards."""
    settings: dict[Any, Any] = {**STYLE_SETTINGS, "font.family": font_families()}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A box stands for a character that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Return an empty figure with a canvas of its own, which pyplot does not know."""
    figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(
    figure: Figure, folder: Path, *, name: str, title: str, caption: str
) -> SavedFigure:
    """Write PNG and PDF, without dates and program versions."""
    buffer = io.BytesIO()
    fast = {"compress_level": PNG_LEVEL}
    figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs=fast)
    png = buffer.getvalue()

    def write_png(part: Path) -> None:
        part.write_bytes(png)

    def write_pdf(part: Path) -> None:
        figure.savefig(part, format="pdf", metadata={"CreationDate": None, "Producer": None})

    atomic_write(folder / f"{name}.png", write_png)
    atomic_write(folder / f"{name}.pdf", write_pdf)
    width, height = figure.canvas.get_width_height()
    return SavedFigure(
        name=name,
        title=title,
        caption=caption,
        png=png,
        width_pixels=width,
        height_pixels=height,
    )


def panel_grid(num_panels: int, *, max_columns: int) -> tuple[int, int]:
    """Return (rows, columns) for some panels: as few rows as possible, filled evenly.

    Four panels in at most three columns are two rows of two.
    """
    rows = -(-num_panels // max_columns)
    return rows, -(-num_panels // max(rows, 1))


def legend_shape(labels: Sequence[str], width_inches: float) -> tuple[int, int]:
    """Return (lines, columns) in which labels of LEGEND_POINTS fit into a width."""
    longest = max((len(label) for label in labels), default=0)
    widest_inches = 0.55 + 0.0083 * LEGEND_POINTS * longest  # handle and gap, then the letters
    fitting = int(width_inches / widest_inches)
    columns = max(1, min(MAX_LEGEND_COLUMNS, len(labels), fitting))
    return -(-len(labels) // columns), columns


def label_edge(
    figure: Figure,
    axes: Axes,
    positions: Sequence[float],
    labels: Sequence[str],
    *,
    side: Edge,
    rotation: float = 0.0,
) -> None:
    """Draw ticks along an edge of axes that are switched off, with `labels` unless there are none.

    An axis of matplotlib makes six objects for each tick, and measures all labels to place its own
    one: it takes three times as long, and maps are most of the figures.
    """
    is_bottom, is_turned = side == "bottom", rotation > 0
    edge = 1.0 if side == "right" else 0.0
    along = axes.get_xaxis_transform() if is_bottom else axes.get_yaxis_transform()
    points: tuple[Sequence[float], ...] = positions, [edge] * len(positions)
    marker, step, align = _EDGES[side]
    ticks = Line2D(
        *(points if is_bottom else points[::-1]),
        transform=along,
        color=FAINT,
        linestyle="none",
        marker=marker,
        markersize=EDGE_TICK_POINTS,
        markeredgewidth=0.6,
        clip_on=False,
    )
    axes.add_artist(ticks)
    right, up = (EDGE_LABEL_POINTS / 72 * inches for inches in step)
    moved = along + ScaledTranslation(right, up, figure.dpi_scale_trans)
    for position, label in zip(positions, labels, strict=False):
        axes.text(
            *((position, edge) if is_bottom else (edge, position)),
            label,
            transform=moved,
            fontsize=EDGE_FONT_POINTS,
            rotation=rotation,
            rotation_mode="anchor" if is_turned else "default",
            ha="right" if is_turned else align,
            va="top" if is_bottom and rotation < 90 else "center_baseline",
        )


# The mark of a tick, the direction from it to its label, and how the label is aligned.
_EDGES: dict[Edge, tuple[Any, tuple[int, int], str]] = {
    "left": (TICKLEFT, (-1, 0), "right"),
    "right": (TICKRIGHT, (1, 0), "left"),
    "bottom": (TICKDOWN, (0, -1), "center"),
}
