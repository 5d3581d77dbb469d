"""Tables whose every text is one of the foreign strings, read by LaTeX and by Markdown's rules."""

import re
from pathlib import Path
from unicodedata import normalize

import pytest
from support.foreign_study import TITLES, write_foreign_study
from support.latex import compile_latex, pdflatex

from kdbatch.base.output.visible_text import visible
from kdbatch.report.data.study import load_study
from kdbatch.report.tables.formats import to_latex, to_markdown
from kdbatch.report.tables.grid import Grid, fill_grid

__all__ = ["pdflatex"]  # a fixture
OTHER_SCRIPTS = "\u6f22\u5b57\U0001f600"
DOCUMENT = r"""
\documentclass{article}
\usepackage{booktabs}
\pdfpagewidth=500cm \pdfpageheight=50cm \textwidth=490cm \textheight=45cm \hoffset=0pt
\begin{document}
TABLE
\end{document}
"""


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    runs_dir = tmp_path_factory.mktemp("foreign")
    record = write_foreign_study(runs_dir)
    return fill_grid(record, record.tables[0], load_study(runs_dir))


def printed(text: str) -> str:
    """The characters of a text as TeX's first font has them: one kind of quotes, accents for ~ and
    ^, a rule for _.
    """
    text = re.sub("''|[\"\u201c]", "\u201d", re.sub(r"[\s_]", "", normalize("NFC", text)))
    return text.translate(str.maketrans("\u2019\u02dc\u02c6\u2212", "'~^-"))


def test_latex_prints_every_text_and_obeys_none(pdflatex: str, grid: Grid, tmp_path: Path) -> None:
    table = re.sub(f"[{OTHER_SCRIPTS}]", "", to_latex(grid))
    (tmp_path / "t.tex").write_text(DOCUMENT.replace("TABLE", table), encoding="utf-8")
    text = compile_latex(pdflatex, tmp_path / "t.tex")
    shown = printed(text)
    wrong = []
    for title in TITLES:
        words = printed(re.sub(f"[{OTHER_SCRIPTS}]", "", visible(title)))
        if shown.count(words) < 2:  # a row and a column
            wrong.append(words)
    assert not wrong, text


def test_latex_says_which_character_pdflatex_lacks(grid: Grid) -> None:
    lines = to_latex(grid).splitlines()
    assert lines[1] == (
        "% \u6f22 is no character of pdfLaTeX: use LuaLaTeX or XeLaTeX, and a font that has it"
    )


def test_markdown_keeps_rows_columns_and_every_text(grid: Grid) -> None:
    lines = [line for line in to_markdown(grid).splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {1 + len(TITLES)}
    plain = [re.sub(r"\\([\\`*_\[\]|<>~$&])", r"\1", cell)[1:-1] for cell in cells[0]]
    assert plain[1:] == list(map(visible, TITLES))
    heads = [re.sub(r"\\([\\`*_\[\]|<>~$&])", r"\1", row[0])[1:-1] for row in cells[3:]]
    assert heads == list(map(visible, TITLES))
