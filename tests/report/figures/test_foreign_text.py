"""The twenty foreign strings as names of networks and as values, in every figure of a study."""

from pathlib import Path

import pytest
from support.foreign_study import TITLES, write_foreign_study

from kdbatch.base.output.visible_text import visible
from kdbatch.report.build import build_report
from kdbatch.report.figures.drawing import Drawing, Label
from kdbatch.report.figures.saved import FigureFolder, SavedFigure


def test_every_name_is_drawn_as_a_label_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, Drawing]] = []
    save = FigureFolder.save

    def record(self: FigureFolder, name: str, drawing: Drawing) -> SavedFigure:
        drawn.append((name, drawing))
        return save(self, name, drawing)

    monkeypatch.setattr(FigureFolder, "save", record)
    write_foreign_study(tmp_path / "runs")
    report = build_report(tmp_path / "runs", to=tmp_path / "report")
    texts = {mark.text for _, each in drawn for mark in each.marks if isinstance(mark, Label)}
    assert all(any(title.strip() in text for text in texts) for title in TITLES)
    assert not any("\n" in visible(text) for text in texts)
    figures = {path.stem for path in (report.page.parent / "figures").glob("*.p*")}
    assert {name for name, _ in drawn} <= figures
    assert all(name.isascii() and not name.startswith((".", "-")) for name in figures)
