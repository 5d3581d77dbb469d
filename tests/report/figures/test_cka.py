from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from support.reports import MAPS

from kdbatch.report.data.study import load_study
from kdbatch.report.figures.cka import (
    MAP_COLOURS,
    CkaMapFigure,
    draw_map,
    draw_panel,
    load_maps,
    map_caption,
)
from kdbatch.result.read import read_cka
from kdbatch.result.schema import CKA, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.runs import RunFolder


def cka(value_LM: np.ndarray, layer: str = "conv") -> CkaMapFigure:
    names = tuple(f"{layer}{i}" for i in range(len(value_LM)))
    return CkaMapFigure(
        declared=MAPS[0],
        value_LM=value_LM,
        layers_a=names,
        layers_b=names,
        numbers={},
        seed=0,
        num_seeds=1,
    )


def colour(value: float) -> np.ndarray:
    return np.asarray(mpl.colormaps[MAP_COLOURS](value)[:3])


def test_a_map_comes_back_as_it_was_measured(studied: Callable) -> None:
    record, study = studied()
    maps, warnings = load_maps(record, study)
    assert [m.declared.id for m in maps] == ["map_T1", "map_T2", "map_student"] and warnings == ()
    assert maps[0].value_LM.shape == (12, 12) and np.allclose(np.diag(maps[0].value_LM), 1.0)
    assert (
        maps[0].value_LM[0, 5] == pytest.approx(np.exp(-1))
        and maps[0].layers_a[5] == "stage1.conv1"
    )
    assert maps[0].numbers == {"block index": "0.30"}


def test_every_number_of_a_self_map_stands_below_it_the_block_index_with_its_interval(
    studied: Callable,
) -> None:
    record, study = studied()
    run = next(c.run_id for c in record.cells if c.role == "map:map_T1")
    names = {
        "block_index": 0.3,
        "block_index_low": 0.21,
        "block_index_high": 0.39,
        "run_90": 0.5,
        "pc1_drop": 0.12,
        "loud_drop": 0.04,
    }
    measures = [Measure(name=name, value=value, unit="1") for name, value in names.items()]
    write_measures(RunFolder(study.runs_dir / run).rows, run, measures, schema=ROWS)
    drawn = load_maps(record, load_study(study.runs_dir))[0][0]
    assert drawn.numbers == {
        "block index": "0.30 [0.21, 0.39]",
        "longest run (\u2265 .9)": "0.50",
        "drop without PC1": "0.12",
        "without loud clips": "0.04",
    }


def test_numbers_are_over_all_seeds_and_the_drawn_seed_is_told(studied: Callable) -> None:
    record, study = studied(seeds=(0, 1))
    drawn = load_maps(record, study)[0][0]
    assert drawn.numbers == {"block index": "0.31 ± 0.01"}
    assert "Seed 0 is drawn" in map_caption(drawn)


def test_a_map_that_is_not_done_is_left_out(studied: Callable) -> None:
    record, study = studied(unfinished=[("map:map_T2", "30k")])
    assert [m.declared.id for m in load_maps(record, study)[0]] == ["map_T1", "map_student"]


@pytest.mark.parametrize(
    ("index", "told"), [(2_000_000_000, "pairs for a map of"), (-1, "pairs without an index")]
)
def test_indexes_that_no_network_has_are_named(studied: Callable, index: int, told: str) -> None:
    record, study = studied()
    run = next(c.run_id for c in record.cells if c.role == "map:map_T1")
    rows = read_cka(study.runs_dir, [run]).frame.to_dicts()
    rows[0] |= {"index_a": index}
    write_table(RunFolder(study.runs_dir / run).cka, rows, schema=CKA)
    maps, warnings = load_maps(record, study)
    assert len(maps) == 2 and told in warnings[0] and run in warnings[0]


def test_layer_0_is_at_the_top_left_and_colour_runs_from_0_to_1(tmp_path) -> None:
    value = np.full((4, 4), 0.5)
    value[0, 0], value[0, 3], value[3, 0] = 0.9, 0.25, np.nan  # neither end of the scale occurs
    draw_map(cka(value), tmp_path, name="map")
    image = imread(tmp_path / "map.png")[..., :3]
    height, width = image.shape[:2]
    left, right, top, bottom = 0.24, 0.84, 1 - 0.90, 1 - 0.30  # where the map lies in the figure
    column = [int(width * (left + (right - left) * (i + 0.5) / 4)) for i in range(4)]
    line = [int(height * (top + (bottom - top) * (i + 0.5) / 4)) for i in range(4)]
    assert image[line[0], column[0]] == pytest.approx(colour(0.9), abs=0.02)
    assert image[line[0], column[3]] == pytest.approx(colour(0.25), abs=0.02)
    assert image[line[1], column[1]] == pytest.approx(colour(0.5), abs=0.02)
    assert np.ptp(image[line[3], column[0]]) < 0.06  # not measured: grey


def test_names_of_layers_may_hold_anything(tmp_path) -> None:
    drawn = draw_panel(
        (cka(np.eye(30), "$\\frac{_"), cka(np.eye(3), "a" * 60)),
        tmp_path,
        name="panel",
        title="Maps",
    )
    assert drawn.png.startswith(b"\x89PNG") and (tmp_path / "panel.pdf").read_bytes().startswith(
        b"%PDF"
    )
