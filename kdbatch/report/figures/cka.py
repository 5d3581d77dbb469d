"""Draws CKA maps: one figure per map, and all maps of an experiment side by side on one scale.

Layer 0 is at the top left of every map, and colour runs from 0 to 1 in every map, so that maps can
be compared. Axes: L layers of model A, M layers of model B.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdbatch.report.data.cka_maps import MEASURE_TITLES, LoadedMap
from kdbatch.report.escape import escape_mathtext
from kdbatch.report.figures.base import (
    FAINT,
    SavedFigure,
    apply_style,
    label_edge,
    new_figure,
    panel_grid,
    save_figure,
)

MAP_COLOURS = "viridis"  # even steps of lightness: safe for colour-blind readers and in grey
MISSING_COLOUR = "#d1d5db"
MAX_TICKS, MAX_PANEL_TICKS = 9, 5
MAX_LAYER_LETTERS = 20
SCALE_NOTE = "Linear CKA on one scale from 0 to 1; layer 0 is at the top left."
DROPS_NOTE = (
    "Drops: the part of the similarity inside segments that is lost without each layer's first "
    "principal component, or without the clips of the largest norm."
)
_Box = tuple[float, float, float, float]


def draw_map(cka: LoadedMap, folder: Path, *, name: str) -> SavedFigure:
    """Draw one map with the names of its layers and its measures."""
    with apply_style():
        figure = new_figure(4.6, 5.1)
        axes = figure.add_axes((0.24, 0.30, 0.60, 0.60))
        _draw_matrix(figure, axes, cka, max_ticks=MAX_TICKS)
        _draw_colour_bar(figure, (0.87, 0.30, 0.025, 0.60))
        text = _numbers_text(cka)
        style = {"ha": "center", "va": "bottom", "fontsize": 7.5, "linespacing": 1.4}
        figure.text(0.54, 0.015, text, color=FAINT, **style)
        return save_figure(
            figure, folder, name=name, title=cka.declared.title, caption=map_caption(cka)
        )


def draw_panel(maps: Sequence[LoadedMap], folder: Path, *, name: str, title: str) -> SavedFigure:
    """Draw all maps side by side, at most three in a row."""
    rows, columns = panel_grid(len(maps), max_columns=3)
    width, height = 3.2 * columns + 0.75, 3.95 * rows
    text_style = {"ha": "center", "va": "top", "fontsize": 6.5, "linespacing": 1.35}
    with apply_style():
        figure = new_figure(width, height)
        for i, cka in enumerate(maps):
            left, top = 0.95 + 3.2 * (i % columns), 0.45 + 3.95 * (i // columns)
            box = (left / width, 1 - (top + 2.2) / height, 2.2 / width, 2.2 / height)
            _draw_matrix(figure, figure.add_axes(box), cka, max_ticks=MAX_PANEL_TICKS)
            middle, below = (left + 1.1) / width, 1 - (top + 2.88) / height
            figure.text(middle, below, _numbers_text(cka), color=FAINT, **text_style)
        bar_box = (1 - 0.52 / width, 1 - 2.65 / height, 0.1 / width, 2.2 / height)
        _draw_colour_bar(figure, bar_box)
        caption = " ".join(dict.fromkeys(note for cka in maps for note in _notes(cka)))
        return save_figure(figure, folder, name=name, title=title, caption=caption)


def map_caption(cka: LoadedMap) -> str:
    """Return how to read the map, and what was measured on it."""
    return " ".join(_notes(cka))


def _notes(cka: LoadedMap) -> list[str]:
    notes = [SCALE_NOTE]
    if MEASURE_TITLES["pc1_drop"] in cka.numbers:
        notes.append(DROPS_NOTE)
    if cka.num_seeds > 1:
        notes.append(
            f"Seed {cka.seed} is drawn; numbers are mean ± standard deviation over "
            f"{cka.num_seeds} seeds."
        )
    return notes


def _draw_matrix(figure: Figure, axes: Axes, cka: LoadedMap, *, max_ticks: int) -> None:
    """Draw the values; a missing pair is grey."""
    axes.set_axis_off()
    # An unbiased CKA may be slightly negative; it is clipped for display only.
    shown_LM = np.ma.masked_invalid(np.clip(cka.value_LM, 0.0, 1.0))
    axes.imshow(
        shown_LM,
        cmap=colormaps[MAP_COLOURS].with_extremes(bad=MISSING_COLOUR),
        vmin=0.0,
        vmax=1.0,
        origin="upper",
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_title(escape_mathtext(cka.declared.title), pad=7)
    places_a, names_a = _edge_names(cka.layers_a, max_ticks=max_ticks)
    places_b, names_b = _edge_names(cka.layers_b, max_ticks=max_ticks)
    label_edge(figure, axes, places_a, names_a, side="left")
    label_edge(figure, axes, places_b, names_b, side="bottom", rotation=40)


def _edge_names(layers: Sequence[str], *, max_ticks: int) -> tuple[list[int], list[str]]:
    positions = _tick_positions(len(layers), max_ticks=max_ticks)
    return positions, [escape_mathtext(_short_layer_name(layers[i])) for i in positions]


def _draw_colour_bar(figure: Figure, box: _Box) -> None:
    axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.imshow(
        np.linspace(0.0, 1.0, 256)[:, None],
        cmap=MAP_COLOURS,
        origin="lower",
        extent=(0.0, 1.0, 0.0, 1.0),
        aspect="auto",
    )
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    label_edge(figure, axes, values, [f"{value:.2f}" for value in values], side="right")
    axes.set_title("CKA", fontsize=7, fontweight="normal", pad=6)


def _numbers_text(cka: LoadedMap) -> str:
    """Return the measures, two in a line."""
    parts = [f"{title} {text}" for title, text in cka.numbers.items()]
    lines = [" · ".join(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return "\n".join(lines) or "no block numbers"


def _tick_positions(num_layers: int, *, max_ticks: int) -> list[int]:
    """Return indexes from the first layer to the last, spaced as evenly as integers allow."""
    if num_layers <= max_ticks:
        return list(range(num_layers))
    last = num_layers - 1
    return sorted({round(i * last / (max_ticks - 1)) for i in range(max_ticks)})


def _short_layer_name(layer: str) -> str:
    """Remove the parts that all names of a network share.

    A name that is still long keeps both ends: the first names the stage, the last the layer.
    """
    for long, short in (
        (".block1.", "."),
        ("spatial_conv", "spatial"),
        ("temporal_conv", "temporal"),
    ):
        layer = layer.replace(long, short)
    return layer if len(layer) <= MAX_LAYER_LETTERS else f"{layer[:8]}…{layer[-11:]}"
