"""What all figures share: a canvas without pyplot, one look, files that are equal when their
numbers are equal.
"""

import base64
import io
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
STYLE_SETTINGS: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    # right above the axes: looking for a free place measures every label, twice per file
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
    """A figure as it lies on disk (`name`.png and .pdf) and in the page."""

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
    """Our settings while a figure is made and written; matplotlib's own are back afterwards."""
    settings: dict[Any, Any] = {**STYLE_SETTINGS, "font.family": font_families()}
    with mpl.rc_context(settings):
        yield


def new_figure(width_inches: float, height_inches: float) -> Figure:
    figure = Figure(figsize=(width_inches, height_inches), dpi=DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(
    figure: Figure, folder: Path, *, name: str, title: str, caption: str
) -> SavedFigure:
    """Write PNG and PDF, without dates and program versions, and let the figure go."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    atomic_write(folder / f"{name}.png", lambda part: _write_bytes(part, png.getvalue()))
    atomic_write(
        folder / f"{name}.pdf",
        lambda part: figure.savefig(
            part, format="pdf", metadata={"CreationDate": None, "Producer": None}
        ),
    )
    width, height = figure.canvas.get_width_height()
    figure.clear()
    return SavedFigure(
        name=name,
        title=title,
        caption=caption,
        png=png.getvalue(),
        width_pixels=width,
        height_pixels=height,
    )


def panel_grid(num_panels: int, *, max_columns: int) -> tuple[int, int]:
    """(rows, columns) for `num` panels: as few rows as can be, and as even: four of at most three
    columns are two rows of two.
    """
    rows = -(-num_panels // max_columns)
    return rows, -(-num_panels // max(rows, 1))


def legend_shape(labels: Sequence[str], width_inches: float) -> tuple[int, int]:
    """(lines, columns) in which labels of LEGEND_POINTS fit into the width, at most four columns."""
    widest = 0.55 + 0.0083 * LEGEND_POINTS * max(
        (len(label) for label in labels), default=0
    )  # handle and gap, then the letters
    columns = max(1, min(4, len(labels), int(width_inches / widest)))
    return -(-len(labels) // columns), columns


def escape_mathtext(text: str) -> str:
    """Text from data, kept from being read as a formula."""
    return text.replace("$", r"\$")


def hide_frame(axes: Axes) -> None:
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
