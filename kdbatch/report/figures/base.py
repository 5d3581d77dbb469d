"""Common parts of all figures: canvas, style and layout; equal numbers give equal files."""

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdbatch.base.atomic_write import atomic_write
from kdbatch.report.figures.fonts import font_families

INK, FAINT, GRID = "#1f2328", "#6b7280", "#e5e7eb"
DOTS_PER_INCH = 160
LEGEND_POINTS, LEGEND_LINE_INCHES = 7.5, 0.17
MAX_LEGEND_COLUMNS = 4
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
    """Write PNG and PDF, without dates and program versions, and free the figure's memory."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    png = buffer.getvalue()

    def write_png(part: Path) -> None:
        part.write_bytes(png)

    def write_pdf(part: Path) -> None:
        figure.savefig(part, format="pdf", metadata={"CreationDate": None, "Producer": None})

    atomic_write(folder / f"{name}.png", write_png)
    atomic_write(folder / f"{name}.pdf", write_pdf)
    width, height = figure.canvas.get_width_height()
    figure.clear()
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


def hide_frame(axes: Axes) -> None:
    """Hide the spines and the grid lines."""
    axes.spines[:].set_visible(False)
    axes.grid(False)
