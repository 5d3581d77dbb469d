from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from support.reports import MAPS

from kdbatch.report.data.cka_maps import LoadedMap
from kdbatch.report.figures.cka import CKA_SCALE, draw_map, draw_views
from kdbatch.report.figures.drawing import Drawing, Label, Picture
from kdbatch.report.figures.render.files import draw_pdf, draw_png


def loaded_map(value_LM: np.ndarray, layer: str = "conv") -> LoadedMap:
    names = tuple(f"{layer}{i}" for i in range(len(value_LM)))
    return LoadedMap(
        declared=MAPS[0],
        models=MAPS[0].models,
        value_LM=value_LM,
        rsa_LM=None,
        layers_a=names,
        layers_b=names,
        numbers={},
        seed=0,
        run_ids=("r0",),
    )


def colour(value: float) -> np.ndarray:
    return np.asarray(mpl.colormaps[CKA_SCALE.colours](value)[:3])


def test_layer_0_is_at_the_top_left_and_colour_runs_from_0_to_1() -> None:
    value = np.full((4, 4), 0.5)
    value[0, 0], value[0, 3], value[3, 0] = 0.9, 0.25, np.nan  # neither end of the scale occurs
    png = draw_png(draw_map(loaded_map(value)))
    image = imread(BytesIO(png))[..., :3]
    height, width = image.shape[:2]
    left, right, top, bottom = 0.24, 0.84, 1 - 0.90, 1 - 0.30  # box of the map in the figure
    column = [int(width * (left + (right - left) * (i + 0.5) / 4)) for i in range(4)]
    line = [int(height * (top + (bottom - top) * (i + 0.5) / 4)) for i in range(4)]
    assert image[line[0], column[0]] == pytest.approx(colour(0.9), abs=0.02)
    assert image[line[0], column[3]] == pytest.approx(colour(0.25), abs=0.02)
    assert image[line[1], column[1]] == pytest.approx(colour(0.5), abs=0.02)
    assert np.ptp(image[line[3], column[0]]) < 0.06  # not measured: grey


def test_names_of_layers_may_contain_any_characters() -> None:
    maps = loaded_map(np.eye(30), "$\\frac{_"), loaded_map(np.eye(3), "a" * 60)
    drawing = draw_views(maps)[""]
    labels = [mark.text for mark in drawing.marks if isinstance(mark, Label)]
    assert "$\\frac{_0" in labels and f"{'a' * 8}…{'a' * 10}0" in labels
    png, pdf = draw_png(drawing), draw_pdf(drawing)
    assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF")


def pictures(drawing: Drawing) -> list[Picture]:
    """The maps of a figure, without its bar of colours."""
    return [mark for mark in drawing.marks if isinstance(mark, Picture) and mark.rows]


def test_views_show_rsa_and_the_students_map_minus_each_other_map_of_the_same_layers() -> None:
    rng = np.random.default_rng(0)
    values, rsas = rng.random((4, 5, 5)), rng.random((4, 5, 5))
    declared = [*MAPS, replace(MAPS[0], id="wider", title="Wider")]
    maps = [
        replace(loaded_map(values[i], "wide" if i == 3 else "conv"), declared=declared[i])
        for i in range(4)
    ]
    maps = [replace(cka, rsa_LM=rsa) for cka, rsa in zip(maps, rsas, strict=True)]
    views = draw_views(maps)
    assert list(views) == ["", "_difference", "_rsa", "_rsa_difference"]
    for end, expected in (("", values), ("_rsa", rsas)):
        shown = [picture.value_LM for picture in pictures(views[end])]
        assert np.array_equal(shown, expected)
        minus = [picture.value_LM for picture in pictures(views[f"{end}_difference"])]
        assert np.array_equal(minus, [expected[2] - expected[0], expected[2] - expected[1]])
    assert {picture.limits for picture in pictures(views["_difference"])} == {(-1.0, 1.0)}


def test_without_rsa_and_without_two_maps_of_the_same_layers_there_is_one_view() -> None:
    maps = loaded_map(np.eye(3)), loaded_map(np.eye(4))
    assert list(draw_views(maps)) == [""]
