import base64
from pathlib import Path

import matplotlib as mpl

from kdbatch.report.figures.base import (
    SavedFigure,
    apply_style,
    legend_shape,
    new_figure,
    panel_grid,
    save_figure,
)


def draw_line(folder: Path) -> SavedFigure:
    with apply_style():
        figure = new_figure(2.0, 1.0)
        figure.add_axes((0.2, 0.2, 0.7, 0.7)).plot([0, 1], [1, 0])
        return save_figure(figure, folder, name="line", title="A line", caption="It falls.")


def test_equal_numbers_give_equal_files_without_dates(tmp_path: Path) -> None:
    draw_line(tmp_path / "a")
    draw_line(tmp_path / "b")
    for name in ("line.png", "line.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert b"CreationDate" not in (tmp_path / "a" / "line.pdf").read_bytes()


def test_matplotlibs_own_settings_are_restored(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    draw_line(tmp_path)
    assert dict(mpl.rcParams) == before


def test_the_page_gets_the_bytes_of_the_file(tmp_path: Path) -> None:
    saved = draw_line(tmp_path)
    encoded = saved.data_uri.removeprefix("data:image/png;base64,")
    assert base64.b64decode(encoded) == (tmp_path / "line.png").read_bytes()
    assert (saved.width_pixels, saved.height_pixels) == (320, 160)


def test_panels_fill_their_rows_evenly() -> None:
    shapes = {n: panel_grid(n, max_columns=3) for n in (0, 1, 3, 4, 5, 7)}
    assert shapes == {0: (0, 0), 1: (1, 1), 3: (1, 3), 4: (2, 2), 5: (2, 3), 7: (3, 3)}


def test_a_legend_of_long_labels_takes_more_lines_instead_of_leaving_the_figure() -> None:
    assert legend_shape(["T1", "T2", "student", "labels"], 5.4) == (1, 4)
    assert legend_shape(["a network with pretrained features, linear probe"] * 4, 5.4) == (4, 1)
    assert legend_shape(["x" * 400], 1.0) == (1, 1) and legend_shape([], 5.4)[1] == 1
