"""Escapes text from data for HTML, LaTeX, Markdown, spreadsheets and file names."""

import hashlib
import html
import re
from collections.abc import Sequence

from kdbatch.base.output.visible_text import visible
from kdbatch.report.labels import MINUS, NO_VALUE

MAX_NAME_CHARS = 120
_NO_LIGATURE = "\0"  # stands for a hyphen before another: two would be a dash
_LATEX = {
    _NO_LIGATURE: "-{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    MINUS: r"$-$",
    "≥": r"$\geq$",
    NO_VALUE: "--",
    "·": r"$\cdot$",
    "|": r"\textbar{}",
    "<": r"$<$",
    ">": r"$>$",
    "`": r"\textasciigrave{}",
    # After the end of a row, these would be the arguments of it.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
} | {c: f"\\{c}" for c in "&%$#_{}"}
# A spreadsheet takes a cell that begins so for a formula; the wide forms in East Asian locales.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]")


def escape_html(text: object) -> str:
    """Escape for element content and for quoted attributes."""
    lines = str(text).split("\n")
    return html.escape("\n".join(map(visible, lines)), quote=True)


def escape_latex(text: str) -> str:
    """Escape for running text and table cells."""
    text = visible(text.replace("\n", " ")).replace("\t", " ")
    return "".join(_LATEX.get(c, c) for c in re.sub("-(?=-)", _NO_LIGATURE, text))


def escape_markdown(text: str) -> str:
    """Escape for table cells: the text cannot end the cell, start a tag, a formula or an entity, or
    turn bold.
    """
    return re.sub(r"([\\`*_\[\]|<>~$&])", r"\\\1", visible(text.replace("\n", " ")))


def csv_line(cells: Sequence[str | float | None]) -> str:
    """A line of a CSV file for programs and spreadsheets; None is an empty cell.

    A text that a spreadsheet would calculate has an apostrophe in front. A text with a character
    that separates cells in some locale is quoted. Numbers have all of their digits.
    """
    return ",".join(map(_csv_cell, cells)) + "\n"


def _csv_cell(cell: str | float | None) -> str:
    if not isinstance(cell, str):
        return "" if cell is None else repr(cell)
    text = f"'{cell}" if _FORMULA.match(cell) else cell
    text = "\n".join(map(visible, text.split("\n")))
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",;\t\n]', text) else text


def safe_file_name(text: str) -> str:
    """Keep letters, digits, dot, dash and underscore: never a path, never a hidden file.

    A name that is changed or long ends in a hash of the text: two texts never share a file.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")[:MAX_NAME_CHARS]
    if name == text and name:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return f"{name or 'unnamed'}-{digest[:6]}"
