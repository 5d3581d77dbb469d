"""Loads the CKA maps of an experiment. Axes: L layers of model A, M layers of model B."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.labels import format_number
from kdbatch.result.read import read_cka
from kdbatch.vocab.plans.declarations import Map
from kdbatch.vocab.plans.records import PlanRecord

# The measure that claims are about. The intervals of the others are in results.parquet.
MEASURE_WITH_INTERVAL = "block_index"
MEASURE_TITLES: dict[str, str] = {
    "block_index": "block index",
    "block_index_z": "z",
    "grid_share": "grid share",
    "block_share": "block share",
    "run_90": "longest run (≥ .9)",
    "mean_cka": "mean CKA",
    "mean_rsa": "mean RSA",
    "pc1_share": "PC1 share",
    "pc1_drop": "drop without PC1",
    "loud_drop": "without high-norm clips",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedMap:
    """The CKA map of one seed, with names of its layers, and the map of RSA if it was measured.

    `models` are the titles of the one or two networks. `numbers` maps the title of a measure to its
    text: the mean over all seeds that are done, whose runs are `run_ids`.
    """

    declared: Map
    models: tuple[str, ...]
    value_LM: np.ndarray
    rsa_LM: np.ndarray | None
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    numbers: dict[str, str]
    seed: int
    run_ids: tuple[str, ...]

    @property
    def num_seeds(self) -> int:
        return len(self.run_ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class MapDifference:
    """A map minus that of other networks with the same layers."""

    of: LoadedMap
    minus: LoadedMap


def load_maps(record: PlanRecord, study: Study) -> tuple[tuple[LoadedMap, ...], tuple[str, ...]]:
    """Return the maps of an experiment that can be drawn, and warnings about the others.

    A map is that of the first seed that is done.
    """
    maps: list[LoadedMap] = []
    warnings: list[str] = []
    for declared in record.maps:
        loaded = _load_map(record, declared, study, warnings)
        if loaded:
            maps.append(loaded)
    return tuple(maps), tuple(warnings)


def differences(maps: Sequence[LoadedMap]) -> list[MapDifference]:
    """Return the map of the student, or else the first one, minus each other map of the same
    layers.
    """
    by_layers: dict[tuple[tuple[str, ...], ...], list[LoadedMap]] = {}
    for cka in maps:
        by_layers.setdefault((cka.layers_a, cka.layers_b), []).append(cka)
    found = []
    for group in by_layers.values():
        of = next((cka for cka in group if _is_of_student(cka.declared)), group[0])
        found += [MapDifference(of=of, minus=cka) for cka in group if cka is not of]
    return found


def _is_of_student(declared: Map) -> bool:
    return declared.models == ("student",) and not declared.untrained


def _load_map(
    record: PlanRecord, declared: Map, study: Study, warnings: list[str]
) -> LoadedMap | None:
    cells = matching_cells(record, f"map:{declared.id}", declared.at)
    done = [cell for cell in cells if study.runs[cell.run_id].state == "done"]
    if not done:
        return None
    done.sort(key=lambda cell: cell.seed)
    first = done[0]
    result = read_cka(study.runs_dir, [first.run_id], done=study.done)
    warnings += result.warnings
    if result.frame.is_empty():
        return None
    try:
        value_LM, layers_a, layers_b = _matrix(result.frame, "value")
        has_rsa = result.frame["rsa"].null_count() < result.frame.height
        rsa_LM = _matrix(result.frame, "rsa")[0] if has_rsa else None
    except ValueError as error:
        path = study.runs_dir / first.run_id / "cka.parquet"
        warnings.append(f"{path}: {error}. The map is not drawn.")
        return None
    return LoadedMap(
        declared=declared,
        models=tuple(record.roles.get(role, role) for role in declared.models),
        value_LM=value_LM,
        rsa_LM=rsa_LM,
        layers_a=layers_a,
        layers_b=layers_b,
        numbers=_measure_texts(study, [cell.run_id for cell in done]),
        seed=first.seed,
        run_ids=tuple(dict.fromkeys(cell.run_id for cell in done)),
    )


def _matrix(
    frame: pl.DataFrame, measure: str
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Return the values (L, M) of a column and the names of layers; a missing pair is NaN.

    Raises:
        ValueError: indexes are missing, negative, or far larger than the number of pairs.
    """
    index_a, index_b = frame["index_a"].to_numpy(), frame["index_b"].to_numpy()
    has_nulls = frame["index_a"].null_count() or frame["index_b"].null_count()
    if has_nulls or min(index_a.min(), index_b.min()) < 0:
        raise ValueError("it has pairs without an index")
    shape = (int(index_a.max()) + 1, int(index_b.max()) + 1)
    if shape[0] * shape[1] > 4 * frame.height + 16:
        raise ValueError(
            f"it has {frame.height} pairs for a map of {shape[0]} by {shape[1]} layers"
        )
    value_LM = np.full(shape, np.nan)
    value_LM[index_a, index_b] = frame[measure].to_numpy()
    layers_a = _layer_names(index_a, frame["layer_a"], num_layers=shape[0])
    layers_b = _layer_names(index_b, frame["layer_b"], num_layers=shape[1])
    return value_LM, layers_a, layers_b


def _layer_names(index: np.ndarray, layer: pl.Series, *, num_layers: int) -> tuple[str, ...]:
    """Return the names by index; a layer without a name is named by its index."""
    names = dict(zip(index.tolist(), layer.to_list(), strict=True))
    return tuple(names.get(i) or str(i) for i in range(num_layers))


def _measure_texts(study: Study, runs: Sequence[str]) -> dict[str, str]:
    """Return the text of each measure by title, without those that no run has."""
    texts = {title: _measure_text(study, runs, name) for name, title in MEASURE_TITLES.items()}
    return {title: text for title, text in texts.items() if text}


def _measure_text(study: Study, runs: Sequence[str], name: str) -> str:
    """Return mean and spread over seeds, or the value of one seed, with its interval if it has one.

    The text is empty where no run has the measure.
    """
    digits = 1 if name == "block_index_z" else 2
    values = [value for run in runs if (value := study.value(run, name)) is not None]
    if not values:
        return ""
    text = format_number(statistics.fmean(values), digits=digits)
    if len(values) > 1:
        text += f" ± {format_number(statistics.stdev(values), digits=digits)}"
    if name == MEASURE_WITH_INTERVAL and len(runs) == 1:
        low, high = (study.value(runs[0], f"{name}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            bounds = [format_number(bound, digits=digits) for bound in (low, high)]
            text += f" [{bounds[0]}, {bounds[1]}]"
    return text
