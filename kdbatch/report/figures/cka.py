"""Draws CKA maps: one figure per map, and all maps of an experiment side by side on one scale.

Layer 0 is at the top left of every map, and colour runs from 0 to 1 in every map, so that maps can
be compared; differences of maps have a scale of their own. RSA is drawn as CKA is.

Axes: L layers of model A, M layers of model B.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdbatch.report.data.cka_maps import MEASURE_TITLES, LoadedMap, differences
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
from kdbatch.report.labels import format_number

FAMILY = "Similarity of layers"
MAX_TICKS, MAX_PANEL_TICKS = 9, 5
MAX_LAYER_LETTERS = 20
DROPS_NOTE = (
    "Drops: the part of the similarity inside segments that is lost without each layer's first "
    "principal component, or without the clips of the largest norm."
)

Z_NOTE = (
    "The block index says how strong blocks are, z only how surely there are any, in standard "
    "deviations of maps without order: a weak pattern of many layers has a small index and a large "
    "z."
)


@dataclass(frozen=True, kw_only=True)
class MapScale:
    """The colours of maps, between limits; `name` stands next to the bar of colours."""

    name: str
    note: str
    colours: ColourMap = "viridis"  # even steps of lightness, for any colour vision and in grey
    limits: tuple[float, float] = (0.0, 1.0)


CKA_SCALE = MapScale(
    name="CKA", note="Linear CKA on one scale from 0 to 1; layer 0 is at the top left."
)
RSA_SCALE = MapScale(
    name="RSA",
    note="Spearman's correlation of the distances between clips, on one scale from 0 to 1; layer 0 "
    "is at the top left. A few clips that move far change it less than CKA.",
)


def draw_map(cka: LoadedMap) -> Drawing:
    """Draw one map with the names of its layers."""
    drawing = Drawing(width=4.6, height=4.7, title=cka.declared.title, caption=map_caption(cka))
    box = (1.1, 1.52, 2.76, 2.76)
    drawing.begin_part((0.0, 0.5, 4.1, 4.2))
    _draw_matrix(drawing, cka, CKA_SCALE, box=box, max_ticks=MAX_TICKS)
    _draw_colour_bar(drawing, CKA_SCALE, middle=2.48)
    return drawing


def draw_views(maps: Sequence[LoadedMap]) -> dict[str, Drawing]:
    """Draw what can be seen of the maps of an experiment, by the end of its file's name: CKA and
    RSA, and the differences of both.
    """
    with_rsa = [replace(cka, value_LM=cka.rsa_LM) for cka in maps if cka.rsa_LM is not None]
    views = {}
    for end, scale, shown in (("", CKA_SCALE, maps), ("_rsa", RSA_SCALE, with_rsa)):
        if shown:
            notes = [scale.note, *(note for cka in shown for note in _notes(cka, scale))]
            views[end] = draw_panel(shown, scale, title=scale.name, notes=notes)
        if drawn := differences(shown):
            rest = [_titled(each.of, each.minus) for each in drawn]
            title = f"Differences of {scale.name}"
            views[f"{end}_difference"] = draw_panel(
                rest, _difference_scale(scale), title=title, notes=[_DIFFERENCE_NOTE]
            )
    return views


_DIFFERENCE_NOTE = (
    "Red: layers are more alike in the network that is named first, blue: in the second one. Only "
    "maps of the same layers have a difference."
)


def _titled(of: LoadedMap, minus: LoadedMap) -> LoadedMap:
    title = f"{of.declared.title}\nminus {minus.declared.title}"
    return replace(
        of, declared=replace(of.declared, title=title), value_LM=of.value_LM - minus.value_LM
    )


def _difference_scale(scale: MapScale) -> MapScale:
    return MapScale(name=f"Δ {scale.name}", note="", colours="RdBu_r", limits=(-1.0, 1.0))


def draw_panel(
    maps: Sequence[LoadedMap], scale: MapScale, *, title: str, notes: Sequence[str]
) -> Drawing:
    """Draw all maps side by side, at most three in a row."""
    rows, columns = panel_grid(len(maps), max_columns=3)
    width, height = 3.2 * columns, 3.6 * rows + 0.6
    caption = " ".join(dict.fromkeys(notes))
    drawing = Drawing(width=width, height=height, title=title, caption=caption, family=FAMILY)
    for i, cka in enumerate(maps):
        left, top = 0.95 + 3.2 * (i % columns), 0.3 + 3.6 * (i // columns)
        box = (left, height - (top + 2.2), 2.2, 2.2)
        drawing.begin_part((left - 0.95, box[1] - 1.0, 3.2, 3.5))
        _draw_matrix(drawing, cka, scale, box=box, max_ticks=MAX_PANEL_TICKS)
    _draw_colour_bar(drawing, scale, middle=width / 2)
    return drawing


def map_caption(cka: LoadedMap) -> str:
    """Return how to read the map, and what was measured on it."""
    return " ".join([CKA_SCALE.note, *_notes(cka, CKA_SCALE)])


def _notes(cka: LoadedMap, scale: MapScale) -> list[str]:
    notes = []
    if len(cka.models) == 2:
        rows, columns = cka.models
        notes.append(
            f"{cka.declared.title}: rows are layers of {rows}, columns those of {columns}."
        )
    if scale is CKA_SCALE and MEASURE_TITLES["block_index_z"] in cka.numbers:
        notes.append(Z_NOTE)
    if scale is CKA_SCALE and MEASURE_TITLES["pc1_drop"] in cka.numbers:
        notes.append(DROPS_NOTE)
    if cka.num_seeds > 1:
        notes.append(
            f"Seed {cka.seed} is drawn; numbers of the table are mean ± standard deviation over "
            f"{cka.num_seeds} seeds."
        )
    return notes


def _draw_matrix(
    drawing: Drawing, cka: LoadedMap, scale: MapScale, *, box: InchBox, max_ticks: int
) -> None:
    """Draw the values; a missing pair is grey."""
    left, bottom, width, height = box
    drawing.add(
        Picture(
            box=box,
            value_LM=cka.value_LM,
            colours=scale.colours,
            limits=scale.limits,
            rows=cka.layers_a,
            columns=cka.layers_b,
        )
    )
    lines = cka.declared.title.split("\n")
    points = 9.0 if len(lines) == 1 else 8.0
    for i, text in enumerate(reversed(lines)):
        at = left + width / 2, bottom + height + (6 + 1.15 * points * i) / 72
        is_bold = i == len(lines) - 1
        drawing.add(Label(at=at, text=text, points=points, align="center", is_bold=is_bold))
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


def _draw_colour_bar(drawing: Drawing, scale: MapScale, *, middle: float) -> None:
    left, width = middle - 1.1, 2.2
    drawing.begin_part((left - 0.6, 0.05, 3.2, 0.5), is_key=True)
    low, high = scale.limits
    rising, box = np.linspace(low, high, 256)[None], (left, 0.35, width, 0.1)
    drawing.add(Picture(box=box, value_LM=rising, colours=scale.colours, limits=scale.limits))
    values = np.linspace(low, high, 5).tolist()
    places = [left + width * (value - low) / (high - low) for value in values]
    texts = [format_number(value, digits=2) for value in values]
    labels_below(drawing, places, texts, y=0.35, degrees=0)
    at = left - 6 / 72, 0.4
    drawing.add(Label(at=at, text=scale.name, points=7, align="right", anchor="middle"))


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
