from dataclasses import replace
from pathlib import Path

import pytest
from support.reports import TABLE
from support.studies import MakeStudy

from kdbatch.report.figures.accuracy import draw_accuracy, is_increasing
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
    make_study: MakeStudy, tmp_path: Path
) -> None:
    captions = []
    for seeds in ((0,), (0, 1)):
        record, study = make_study(seeds=seeds)
        grid = fill_grid(record, TABLE, study)
        figure = draw_accuracy(grid, {"UCF101 · 10k": 40}, tmp_path, name="accuracy")
        assert figure and figure.png.startswith(b"\x89PNG")
        captions.append(figure.caption)
    assert "standard error over test videos" in captions[0]
    assert "standard deviation over seeds" in captions[1]


def test_a_table_without_an_axis_of_two_values_is_not_drawn(
    make_study: MakeStudy, tmp_path: Path
) -> None:
    record, study = make_study()
    for columns in ((), ("target",)):
        grid = fill_grid(record, replace(TABLE, columns=columns), study)
        assert draw_accuracy(grid, {}, tmp_path, name="accuracy") is None
    assert list(tmp_path.glob("accuracy*")) == []
