"""Draws CKA maps: one figure per map, and all maps of an experiment side by side on one scale.

Layer 0 is at the top left of every map, and colour runs from 0 to 1 in every map, so that maps can
be compared. Axes: L layers of model A, M layers of model B.
"""

from collections.abc import Sequence

import numpy as np

from kdbatch.report.data.cka_maps import MEASURE_TITLES, LoadedMap
from kdbatch.report.figures.drawing import (
    FAINT,
    MINOR_POINTS,
    ColourMap,
    Drawing,
    InchBox,
    Label,
    Picture,
    labels_below,
    labels_beside,
    panel_grid,
)

MAP_COLOURS: ColourMap = (
    "viridis"  # even steps of lightness: safe for colour-blind readers and in grey
)
MAX_TICKS, MAX_PANEL_TICKS = 9, 5
MAX_LAYER_LETTERS = 20
LINE_SPACING = 1.35  # in sizes of the text
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
    """Draw one map with the names of its layers and its measures."""
    drawing = Drawing(width=4.6, height=5.1, title=cka.declared.title, caption=map_caption(cka))
    box = (0.24 * 4.6, 0.30 * 5.1, 0.60 * 4.6, 0.60 * 5.1)
    _draw_matrix(drawing, cka, box=box, max_ticks=MAX_TICKS)
    _draw_colour_bar(drawing, (0.87 * 4.6, 0.30 * 5.1, 0.025 * 4.6, 0.60 * 5.1))
    lines = _number_lines(cka)
    top = 0.08 + LINE_SPACING * 7.5 / 72 * len(lines)
    _draw_numbers(drawing, lines, at=(0.54 * 4.6, top), points=7.5)
    return drawing


def draw_panel(maps: Sequence[LoadedMap], *, title: str) -> Drawing:
    """Draw all maps side by side, at most three in a row."""
    rows, columns = panel_grid(len(maps), max_columns=3)
    width, height = 3.2 * columns + 0.75, 3.95 * rows
    caption = " ".join(dict.fromkeys(note for cka in maps for note in _notes(cka)))
    drawing = Drawing(width=width, height=height, title=title, caption=caption)
    for i, cka in enumerate(maps):
        left, top = 0.95 + 3.2 * (i % columns), 0.45 + 3.95 * (i // columns)
        box = (left, height - (top + 2.2), 2.2, 2.2)
        _draw_matrix(drawing, cka, box=box, max_ticks=MAX_PANEL_TICKS)
        at = left + 1.1, height - (top + 2.88)
        _draw_numbers(drawing, _number_lines(cka), at=at, points=MINOR_POINTS)
    _draw_colour_bar(drawing, (width - 0.52, height - 2.65, 0.1, 2.2))
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
    drawing.add(Picture(box=box, value_LM=cka.value_LM, colours=MAP_COLOURS))
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


def _draw_colour_bar(drawing: Drawing, box: InchBox) -> None:
    left, bottom, width, height = box
    falling = np.linspace(1.0, 0.0, 256)[:, None]
    drawing.add(Picture(box=box, value_LM=falling, colours=MAP_COLOURS))
    values = (0.0, 0.25, 0.5, 0.75, 1.0)
    ys = [bottom + height * value for value in values]
    names = [f"{value:.2f}" for value in values]
    labels_beside(drawing, ys, names, x=left + width, side="right")
    at = left + width / 2, bottom + height + 6 / 72
    drawing.add(Label(at=at, text="CKA", points=7, align="center"))


def _draw_numbers(
    drawing: Drawing, lines: Sequence[str], *, at: tuple[float, float], points: float
) -> None:
    """Draw lines of text below a point."""
    for i, line in enumerate(lines):
        place = at[0], at[1] - LINE_SPACING * points / 72 * i
        drawing.add(
            Label(at=place, text=line, points=points, colour=FAINT, align="center", anchor="top")
        )


def _number_lines(cka: LoadedMap) -> list[str]:
    """Return the measures, two in a line."""
    parts = [f"{title} {text}" for title, text in cka.numbers.items()]
    lines = [" · ".join(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return lines or ["no block numbers"]


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
