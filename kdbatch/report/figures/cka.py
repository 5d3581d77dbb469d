"""CKA maps: one file per map, and all maps of an experiment on one scale side by side.

Layer 0 is at the top left in every map; colour runs from 0 to 1 in every map, so that darkness can
be compared. Axes: L layers of A, M layers of B.
"""

import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.figures.base import (
    FAINT,
    SavedFigure,
    apply_style,
    escape_mathtext,
    hide_frame,
    new_figure,
    panel_grid,
    save_figure,
)
from kdbatch.report.labels import format_number
from kdbatch.result.read import read_cka
from kdbatch.vocab.plans import Map, PlanRecord

MAP_COLOURS = "viridis"  # even steps of lightness, safe for colour-blind readers and in grey
MAX_TICKS = 9
SCALE_NOTE = "Linear CKA on one scale from 0 to 1; layer 0 is at the top left."
DROPS_NOTE = "Drops: similarity inside segments that goes with each layer's first principal component, or with the loudest clips."
METRIC_WITH_INTERVAL = (
    "block_index"  # the one that claims are about; those of the others are in results.parquet
)
MEASURE_TITLES: dict[str, str] = {
    "block_index": "block index",
    "block_index_z": "z",
    "grid_share": "grid share",
    "block_share": "block share",
    "run_90": "longest run (≥ .9)",
    "mean_cka": "mean CKA",
    "pc1_share": "PC1 share",
    "pc1_drop": "drop without PC1",
    "loud_drop": "without loud clips",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class CkaMapFigure:
    """Similarities of every layer of A with every layer of B for one seed; `numbers` are means over
    all seeds that are done.
    """

    declared: Map
    value_LM: np.ndarray
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    numbers: dict[str, str]
    seed: int
    num_seeds: int


def load_maps(record: PlanRecord, study: Study) -> tuple[tuple[CkaMapFigure, ...], tuple[str, ...]]:
    """The maps of an experiment that can be drawn, and warnings about those that cannot."""
    maps, warnings = [], []
    for declared in record.maps:
        cells = sorted(
            matching_cells(record, f"map:{declared.id}", declared.at), key=lambda c: c.seed
        )
        done = [c for c in cells if study.runs[c.run_id].state == "done"]
        for cell in done[:1]:
            scan = read_cka(study.runs_dir, [cell.run_id])
            warnings += scan.warnings
            if scan.frame.is_empty():
                continue
            try:
                value_LM, layers_a, layers_b = _matrix(scan.frame)
            except ValueError as error:
                warnings.append(
                    f"{study.runs_dir / cell.run_id}/cka.parquet: {error}. The map is not drawn."
                )
                continue
            runs = [c.run_id for c in done]
            numbers = {
                title: text
                for name, title in MEASURE_TITLES.items()
                if (text := _measure(study, runs, name))
            }
            maps.append(
                CkaMapFigure(
                    declared=declared,
                    value_LM=value_LM,
                    layers_a=layers_a,
                    layers_b=layers_b,
                    numbers=numbers,
                    seed=cell.seed,
                    num_seeds=len(done),
                )
            )
    return tuple(maps), tuple(warnings)


def draw_map(cka: CkaMapFigure, folder: Path, *, name: str) -> SavedFigure:
    """One map with its layer names and block numbers."""
    with apply_style():
        figure = new_figure(4.6, 5.1)
        axes = figure.add_axes((0.24, 0.30, 0.60, 0.60))
        _draw_matrix(axes, cka, max_ticks=MAX_TICKS)
        _colour_bar(figure, (0.87, 0.30, 0.025, 0.60))
        figure.text(
            0.54,
            0.015,
            _numbers_text(cka),
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=FAINT,
            linespacing=1.4,
        )
        return save_figure(
            figure, folder, name=name, title=cka.declared.title, caption=map_caption(cka)
        )


def draw_panel(
    maps: tuple[CkaMapFigure, ...], folder: Path, *, name: str, title: str
) -> SavedFigure:
    """All maps side by side, three in a line."""
    rows, columns = panel_grid(len(maps), max_columns=3)
    width, height = 3.2 * columns + 0.75, 3.95 * rows
    with apply_style():
        figure = new_figure(width, height)
        for i, cka in enumerate(maps):
            left, top = 0.95 + 3.2 * (i % columns), 0.45 + 3.95 * (i // columns)
            axes = figure.add_axes(
                (left / width, 1 - (top + 2.2) / height, 2.2 / width, 2.2 / height)
            )
            _draw_matrix(axes, cka, max_ticks=5)
            middle, below = (left + 1.1) / width, 1 - (top + 2.88) / height
            figure.text(
                middle,
                below,
                _numbers_text(cka),
                ha="center",
                va="top",
                fontsize=6.5,
                color=FAINT,
                linespacing=1.35,
            )
        _colour_bar(figure, (1 - 0.52 / width, 1 - 2.65 / height, 0.1 / width, 2.2 / height))
        note = " ".join(dict.fromkeys(note for cka in maps for note in _notes(cka)))
        return save_figure(figure, folder, name=name, title=title, caption=note)


def map_caption(cka: CkaMapFigure) -> str:
    """How to read the map, and what was measured on it."""
    return " ".join(_notes(cka))


def _notes(cka: CkaMapFigure) -> list[str]:
    drops = [DROPS_NOTE] if MEASURE_TITLES["pc1_drop"] in cka.numbers else []
    return [SCALE_NOTE, *drops, *([_seed_note(cka)] if cka.num_seeds > 1 else [])]


def _seed_note(cka: CkaMapFigure) -> str:
    return f"Seed {cka.seed} is drawn; numbers are mean ± standard deviation over {cka.num_seeds} seeds."


def _draw_matrix(axes: Axes, cka: CkaMapFigure, *, max_ticks: int) -> None:
    hide_frame(axes)
    shown = np.ma.masked_invalid(
        np.clip(cka.value_LM, 0.0, 1.0)
    )  # an unbiased CKA may be slightly negative; clipped for display only
    axes.set_facecolor("#d1d5db")
    axes.imshow(
        shown,
        cmap=MAP_COLOURS,
        vmin=0.0,
        vmax=1.0,
        origin="upper",
        interpolation="nearest",
        aspect="auto",
    )
    axes.set_title(escape_mathtext(cka.declared.title), pad=7)
    for axis, layers in ((axes.yaxis, cka.layers_a), (axes.xaxis, cka.layers_b)):
        places = _tick_positions(len(layers), max_ticks=max_ticks)
        axis.set_ticks(places, [escape_mathtext(_short_layer_name(layers[p])) for p in places])
    axes.tick_params(labelsize=6.5, length=2, width=0.6)
    axes.tick_params(axis="x", labelrotation=40)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
        label.set_rotation_mode("anchor")


def _colour_bar(figure: Figure, place: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(place)
    bar = figure.colorbar(
        ScalarMappable(norm=Normalize(0.0, 1.0), cmap=MAP_COLOURS),
        cax=axes,
        ticks=[0, 0.25, 0.5, 0.75, 1],
    )
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    axes.tick_params(labelsize=6.5, length=2, width=0.6)
    axes.set_title("CKA", fontsize=7, fontweight="normal", pad=6)


def _matrix(frame: pl.DataFrame) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Values by index; a pair that is missing stays NaN and is drawn grey.

    Raises:
        ValueError: indexes that no network has.
    """
    index_a, index_b = frame["index_a"].to_numpy(), frame["index_b"].to_numpy()
    if (
        frame["index_a"].null_count()
        or frame["index_b"].null_count()
        or min(index_a.min(), index_b.min()) < 0
    ):
        raise ValueError("it has pairs without an index")
    shape = (int(index_a.max()) + 1, int(index_b.max()) + 1)
    if shape[0] * shape[1] > 4 * frame.height + 16:
        raise ValueError(
            f"it has {frame.height} pairs for a map of {shape[0]} by {shape[1]} layers"
        )
    value_LM = np.full(shape, np.nan)
    value_LM[index_a, index_b] = frame["value"].to_numpy()
    names_a = dict(zip(index_a.tolist(), frame["layer_a"].to_list(), strict=True))
    names_b = dict(zip(index_b.tolist(), frame["layer_b"].to_list(), strict=True))
    return (
        value_LM,
        tuple(names_a.get(i) or str(i) for i in range(shape[0])),
        tuple(names_b.get(i) or str(i) for i in range(shape[1])),
    )


def _measure(study: Study, runs: list[str], name: str) -> str:
    values = [v for run in runs if (v := study.value(run, name)) is not None]
    digits = 1 if name == "block_index_z" else 2
    spread = (
        f" ± {format_number(statistics.stdev(values), digits=digits)}" if len(values) > 1 else ""
    )
    bounds = [study.value(run, f"{name}_{end}") for run in runs for end in ("low", "high")]
    if name == METRIC_WITH_INTERVAL and len(runs) == 1 and None not in bounds:
        spread = f" [{format_number(bounds[0], digits=digits)}, {format_number(bounds[1], digits=digits)}]"
    return format_number(statistics.fmean(values), digits=digits) + spread if values else ""


def _numbers_text(cka: CkaMapFigure) -> str:
    """Two numbers a line."""
    words = [f"{title} {text}" for title, text in cka.numbers.items()]
    return (
        "\n".join(" · ".join(words[i : i + 2]) for i in range(0, len(words), 2))
        or "no block numbers"
    )


def _tick_positions(num_layers: int, *, max_ticks: int) -> list[int]:
    """Places from the first layer to the last, as even as whole numbers allow."""
    if num_layers <= max_ticks:
        return list(range(num_layers))
    return sorted({round(i * (num_layers - 1) / (max_ticks - 1)) for i in range(max_ticks)})


def _short_layer_name(layer: str) -> str:
    """Without what all names of a network share. Of one that is still long both ends: the first
    tells the stage, the last the layer.
    """
    for long, short in (
        (".block1.", "."),
        ("spatial_conv", "spatial"),
        ("temporal_conv", "temporal"),
    ):
        layer = layer.replace(long, short)
    return layer if len(layer) <= 20 else f"{layer[:8]}…{layer[-11:]}"
