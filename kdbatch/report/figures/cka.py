"""Draws CKA maps: one figure per map, and all maps of an experiment side by side on one scale.

Layer 0 is at the top left of every map, and colour runs from 0 to 1 in every map, so that maps can
be compared. Axes: L layers of model A, M layers of model B.
"""

from collections.abc import Sequence

import numpy as np

from kdbatch.report.data.cka_maps import MEASURE_TITLES, LoadedMap
from kdbatch.report.figures.drawing import (
    ColourMap,
    Drawing,
    InchBox,
    Label,
    Picture,
    labels_below,
    labels_beside,
    panel_grid,
)

# Even steps of lightness: safe for colour-blind readers and in grey.
MAP_COLOURS: ColourMap = "viridis"
MAX_TICKS, MAX_PANEL_TICKS = 9, 5
MAX_LAYER_LETTERS = 20
SCALE_NOTE = "Linear CKA on one scale from 0 to 1; layer 0 is at the top left."
DROPS_NOTE = (
    "Drops: the part of the similarity inside segments that is lost without each layer's first "
    "principal component, or without the clips of the largest norm."
)

Z_NOTE = (
    "The block index says how strong blocks are, z only how surely there are any, in standard "
    "deviations of maps without order: a weak pattern of many layers has a small index and a large "
    "z."
)


def draw_map(cka: LoadedMap) -> Drawing:
    """Draw one map with the names of its layers."""
    drawing = Drawing(width=4.6, height=4.7, title=cka.declared.title, caption=map_caption(cka))
    box = (1.1, 1.52, 2.76, 2.76)
    drawing.begin_part((0.0, 0.5, 4.1, 4.2))
    _draw_matrix(drawing, cka, box=box, max_ticks=MAX_TICKS)
    _draw_colour_bar(drawing, middle=2.48)
    return drawing


def draw_panel(maps: Sequence[LoadedMap], *, title: str) -> Drawing:
    """Draw all maps side by side, at most three in a row."""
    rows, columns = panel_grid(len(maps), max_columns=3)
    width, height = 3.2 * columns, 3.6 * rows + 0.6
    caption = " ".join(dict.fromkeys(note for cka in maps for note in _notes(cka)))
    drawing = Drawing(width=width, height=height, title=title, caption=caption)
    for i, cka in enumerate(maps):
        left, top = 0.95 + 3.2 * (i % columns), 0.3 + 3.6 * (i // columns)
        box = (left, height - (top + 2.2), 2.2, 2.2)
        drawing.begin_part((left - 0.95, box[1] - 1.0, 3.2, 3.5))
        _draw_matrix(drawing, cka, box=box, max_ticks=MAX_PANEL_TICKS)
    _draw_colour_bar(drawing, middle=width / 2)
    return drawing


def map_caption(cka: LoadedMap) -> str:
    """Return how to read the map, and what was measured on it."""
    return " ".join(_notes(cka))


def _notes(cka: LoadedMap) -> list[str]:
    notes = [SCALE_NOTE]
    if MEASURE_TITLES["block_index_z"] in cka.numbers:
        notes.append(Z_NOTE)
    if MEASURE_TITLES["pc1_drop"] in cka.numbers:
        notes.append(DROPS_NOTE)
    if cka.num_seeds > 1:
        notes.append(
            f"Seed {cka.seed} is drawn; numbers are mean ± standard deviation over "
            f"{cka.num_seeds} seeds."
        )
    return notes


def _draw_matrix(drawing: Drawing, cka: LoadedMap, *, box: InchBox, max_ticks: int) -> None:
    """Draw the values; a missing pair is grey."""
    left, bottom, width, height = box
    drawing.add(
        Picture(
            box=box,
            value_LM=cka.value_LM,
            colours=MAP_COLOURS,
            rows=cka.layers_a,
            columns=cka.layers_b,
        )
    )
    at, text = (left + width / 2, bottom + height + 7 / 72), cka.declared.title
    drawing.add(Label(at=at, text=text, points=9, align="center", is_bold=True))
    shares_a, names_a = _edge_names(cka.layers_a, max_ticks=max_ticks)
    shares_b, names_b = _edge_names(cka.layers_b, max_ticks=max_ticks)
    ys = [bottom + height * (1 - share) for share in shares_a]
    xs = [left + width * share for share in shares_b]
    labels_beside(drawing, ys, names_a, x=left, side="left")
    labels_below(drawing, xs, names_b, y=bottom, degrees=40)


def _edge_names(layers: Sequence[str], *, max_ticks: int) -> tuple[list[float], list[str]]:
    """Return where along the edge layers are named, from 0 to 1, and their names."""
    positions = _tick_positions(len(layers), max_ticks=max_ticks)
    shares = [(i + 0.5) / len(layers) for i in positions]
    return shares, [_short_layer_name(layers[i]) for i in positions]


def _draw_colour_bar(drawing: Drawing, *, middle: float) -> None:
    left, width = middle - 1.1, 2.2
    drawing.begin_part((left - 0.6, 0.05, 3.2, 0.5), is_key=True)
    rising = np.linspace(0.0, 1.0, 256)[None]
    drawing.add(Picture(box=(left, 0.35, width, 0.1), value_LM=rising, colours=MAP_COLOURS))
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    places = [left + width * value for value in values]
    labels_below(drawing, places, [f"{value:.2f}" for value in values], y=0.35, degrees=0)
    at = left - 6 / 72, 0.4
    drawing.add(Label(at=at, text="CKA", points=7, align="right", anchor="middle"))


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
