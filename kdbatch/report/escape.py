"""Escapes text from data for HTML, LaTeX and Markdown, and for file names."""

import html
import re

from kdbatch.report.labels import MINUS, NO_VALUE

_LATEX = {
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
    "\n": " ",
} | {c: f"\\{c}" for c in "&%$#_{}"}


def escape_html(text: object) -> str:
    """Escape for element content and for quoted attributes."""
    return html.escape(str(text), quote=True)


def escape_latex(text: str) -> str:
    """Escape for running text and table cells."""
    return "".join(_LATEX.get(c, c) for c in text)


def escape_markdown(text: str) -> str:
    """Escape for table cells: the text cannot end the cell, start a tag or turn bold."""
    return re.sub(r"([\\`*_\[\]|<>])", r"\\\1", text.replace("\n", " "))


def safe_file_name(text: str) -> str:
    """Keep letters, digits, dot, dash and underscore: never a path, never a hidden file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-") or "unnamed"
