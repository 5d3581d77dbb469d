from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.reports import TABLE

from kdbatch.report.figures.accuracy import draw_accuracy, is_increasing
from kdbatch.report.tables.grid import fill_grid


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        (("10k", "30k", "100k"), True),
        (("C1", "C2"), True),
        (("rotnet", "vcop"), False),
        (("30k", "10k"), False),
        (("60", "120"), True),
    ],
)
def test_only_an_axis_that_grows_is_joined_by_lines(values: tuple[str, ...], ordered: bool) -> None:
    assert is_increasing(values) is ordered


def test_one_seed_shows_the_error_of_its_test_videos_and_several_show_their_spread(
    studied: Callable, tmp_path: Path
) -> None:
    captions = []
    for seeds in ((0,), (0, 1)):
        record, study = studied(seeds=seeds)
        drawing = draw_accuracy(
            fill_grid(record, TABLE, study), {"UCF101 · 10k": 40}, tmp_path, name="accuracy"
        )
        assert drawing and drawing.png.startswith(b"\x89PNG")
        captions.append(drawing.caption)
    assert (
        "standard error over test videos" in captions[0]
        and "standard deviation over seeds" in captions[1]
    )


def test_a_table_without_an_axis_to_walk_along_is_not_drawn(
    studied: Callable, tmp_path: Path
) -> None:
    record, study = studied()
    for columns in ((), ("target",)):
        assert (
            draw_accuracy(
                fill_grid(record, replace(TABLE, columns=columns), study),
                {},
                tmp_path,
                name="accuracy",
            )
            is None
        )
    assert list(tmp_path.glob("accuracy*")) == []
