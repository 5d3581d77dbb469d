from dataclasses import replace

import numpy as np
import pytest
from support.reports import TABLE
from support.studies import MakeStudy

from kdbatch.report.figures.accuracy import TRAINED_GROUPS, draw_accuracy, is_increasing
from kdbatch.report.figures.drawing import WHITE, Label, Markers
from kdbatch.report.tables.grid import fill_grid


@pytest.mark.parametrize(
    ("values", "increasing"),
    [
        (("10k", "30k", "100k"), True),
        (("C1", "C2"), True),
        (("rotnet", "vcop"), False),
        (("30k", "10k"), False),
        (("60", "120"), True),
    ],
)
def test_lines_join_the_values_of_an_axis_only_where_they_increase(
    values: tuple[str, ...], increasing: bool
) -> None:
    assert is_increasing(values) is increasing


def test_bars_are_the_error_over_videos_with_one_seed_and_the_deviation_with_several(
    make_study: MakeStudy,
) -> None:
    captions = []
    for seeds in ((0,), (0, 1)):
        record, study = make_study(seeds=seeds)
        grid = fill_grid(record, TABLE, study)
        drawing = draw_accuracy(grid, {"UCF101 · 10k": 40})
        assert drawing
        captions.append(drawing.caption)
    assert "standard error over test videos" in captions[0]
    assert "standard deviation over seeds" in captions[1]


def test_a_table_without_an_axis_of_two_values_is_not_drawn(make_study: MakeStudy) -> None:
    record, study = make_study()
    for columns in ((), ("target",)):
        grid = fill_grid(record, replace(TABLE, columns=columns), study)
        assert draw_accuracy(grid, {}) is None


def test_each_number_of_the_table_is_a_marker_at_its_height(make_study: MakeStudy) -> None:
    record, study = make_study()
    grid = fill_grid(record, TABLE, study)
    drawing = draw_accuracy(grid, {})
    assert drawing
    places = [
        y for m in drawing.marks if isinstance(m, Markers) and m.edge == WHITE for _, y in m.at
    ]
    drawn = [row for row in grid.rows if row.group in TRAINED_GROUPS]
    means = [cell.mean for row in drawn for cell in row.cells if cell.mean is not None]
    assert len(places) == len(means) > 4
    # Higher numbers are higher up, in proportion.
    assert np.corrcoef(sorted(places), sorted(means))[0, 1] == pytest.approx(1.0)
    labels = [mark.text for mark in drawing.marks if isinstance(mark, Label)]
    assert {"UCF101", "10k", "30k", "subset", "Top-1 accuracy (percent)"} <= set(labels)
    assert {row.title for row in drawn} <= set(labels)
