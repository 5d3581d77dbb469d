from dataclasses import replace
from pathlib import Path

import pytest

from kdbatch.base.atomic_write import load_json
from kdbatch.report.figures import saved
from kdbatch.report.figures.drawing import Drawing, Label, Strokes
from kdbatch.report.figures.render import files
from kdbatch.report.figures.saved import DRAWN, FigureFolder, SavedFigure

DRAWING = Drawing(
    width=2.0,
    height=1.0,
    title="A line",
    caption="It falls.",
    marks=[Strokes(lines=(((0.1, 0.9), (1.9, 0.1)),), colour="#000000", width=1.0)],
)


def save(folder: Path, drawing: Drawing = DRAWING) -> SavedFigure:
    figures = FigureFolder.open(folder)
    figure = figures.save("line", drawing)
    figures.close()
    return figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Drawing]:
    """The drawings that matplotlib has drawn."""
    drawings: list[Drawing] = []
    draw_png = files.draw_png

    def record(drawing: Drawing) -> bytes:
        drawings.append(drawing)
        return draw_png(drawing)

    monkeypatch.setattr(files, "draw_png", record)
    return drawings


def test_a_figure_is_written_in_two_formats_and_the_page_gets_a_third(tmp_path: Path) -> None:
    figure = save(tmp_path)
    assert len(figure.svgs) == 1 and figure.svgs[0].startswith("<svg")
    assert (tmp_path / "line.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_is_there_is_not_drawn_again(tmp_path: Path, drawn: list[Drawing]) -> None:
    first = save(tmp_path)
    assert save(tmp_path) == first and len(drawn) == 1


def test_a_figure_is_drawn_again_where_anything_in_it_differs(
    tmp_path: Path, drawn: list[Drawing]
) -> None:
    label = Label(at=(0.1, 0.1), text="50.0", points=8)
    changed = [
        replace(DRAWING, width=2.5),
        replace(DRAWING, marks=[*DRAWING.marks, label]),
        replace(DRAWING, marks=[*DRAWING.marks, replace(label, text="50.1")]),
        replace(DRAWING, marks=[*DRAWING.marks, replace(label, at=(0.1, 0.1000001))]),
    ]
    for drawing in changed:
        save(tmp_path, drawing)
        save(tmp_path, drawing)
    assert drawn == changed


@pytest.mark.parametrize("name", ["line.png", "line.pdf", DRAWN])
@pytest.mark.parametrize("change", ["flip", "cut", "delete"])
def test_a_figure_is_drawn_again_where_a_file_of_it_was_changed(
    tmp_path: Path, drawn: list[Drawing], name: str, change: str
) -> None:
    first = save(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    if change == "delete":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content if change == "flip" else content[:-20])
    assert save(tmp_path) == first and len(drawn) == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_another_version_of_matplotlib_draws_all_figures(
    tmp_path: Path, drawn: list[Drawing], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path)
    monkeypatch.setattr(saved, "version", lambda _: "99.0")
    save(tmp_path)
    save(tmp_path)
    assert len(drawn) == 2


def test_a_figure_of_an_earlier_report_is_forgotten(tmp_path: Path) -> None:
    save(tmp_path)
    figures = FigureFolder.open(tmp_path)
    figures.save("other", DRAWING)
    figures.close()
    assert list(load_json(tmp_path / DRAWN)["figures"]) == ["other"]
