"""Writes a plain table of texts as Markdown, CSV and LaTeX."""

from collections.abc import Sequence

from kdbatch.report.escape import csv_line, escape_latex, escape_markdown

_Rows = Sequence[Sequence[str]]


def text_markdown(head: Sequence[str], rows: _Rows) -> str:
    """Return a table for Markdown."""
    lines = [head, ["---"] * len(head), *([escape_markdown(t) for t in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def text_csv(head: Sequence[str], rows: _Rows) -> str:
    """Return a line per row."""
    return "".join(csv_line(row) for row in (head, *rows))


def text_latex(head: Sequence[str], rows: _Rows) -> str:
    """Return a table for LaTeX; it needs \\usepackage{booktabs}."""
    first, *others = (f"{' & '.join(map(escape_latex, row))} \\\\" for row in (head, *rows))
    begin = f"\\begin{{tabular}}{{{'l' * len(head)}}}"
    lines = ["% needs \\usepackage{booktabs}", begin, "\\toprule", first, "\\midrule", *others]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])
