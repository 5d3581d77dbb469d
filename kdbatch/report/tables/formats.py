"""Writes a filled table as Markdown, CSV and LaTeX; html/tables.py writes it as HTML."""

import itertools
import re
from collections.abc import Iterator, Sequence

from kdbatch.report.escape import csv_line, escape_latex, escape_markdown, safe_file_name
from kdbatch.report.labels import RoleGroup, case_title, value_title
from kdbatch.report.tables.grid import Grid, GridCell, GridRow

SECTION_TITLES: dict[RoleGroup, str] = {
    "reference": "References for the student",
    "control": "Controls",
    "probe": "Pretrained features, before any fine-tuning",
    "ensemble": "For reference, from the teachers' predictions",
    "published": "As published",
}
# LaTeX itself declares Latin letters and the punctuation of books for UTF-8 (utf8enc.dfu).
_NOT_IN_PDFLATEX = re.compile(r"[^\x00-\u017f\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u20ac]")


def row_sections(grid: Grid) -> Iterator[tuple[str, tuple[GridRow, ...]]]:
    """Yield (title, rows) for each group of rows; the models' title is empty."""
    titled = itertools.groupby(grid.rows, key=lambda row: SECTION_TITLES.get(row.group, ""))
    for title, rows in titled:
        yield title, tuple(rows)


def to_markdown(grid: Grid) -> str:
    """Return a table with one header line, in which every column has its whole case."""
    head = ["", *(escape_markdown(case_title(column, grid.titles)) for column in grid.columns)]
    lines = [_markdown_row(head), _markdown_row(["---", *("--:" for _ in grid.columns)])]
    for title, rows in row_sections(grid):
        if title:
            blanks = ["" for _ in grid.columns]
            lines.append(_markdown_row([f"*{escape_markdown(title)}*", *blanks]))
        for row in rows:
            texts = [f"**{cell.text}**" if cell.is_best else cell.text for cell in row.cells]
            lines.append(_markdown_row([escape_markdown(row.title), *texts]))
    title = f"**{escape_markdown(grid.table.title)}**"
    return "\n".join([title, "", *lines, "", escape_markdown(grid.caption), ""])


def to_csv(grid: Grid) -> str:
    """Return one line per number, with all digits."""
    axes = grid.table.columns
    before, after = ("group", "role", "title"), ("mean", "sd", "seeds_done", "seeds_planned")
    lines = [csv_line([*before, *axes, "metric", "unit", *after])]
    for row in grid.rows:
        metric = row.role if row.group == "ensemble" else grid.table.metric
        for column, cell in zip(grid.columns, row.cells, strict=True):
            case = [column[axis] for axis in axes]
            numbers = [cell.mean, cell.sd, cell.num_done, cell.num_planned]
            names = [row.group, row.role, row.title]
            lines.append(csv_line([*names, *case, metric, grid.unit, *numbers]))
    return "".join(lines)


def to_latex(grid: Grid) -> str:
    """Return a table for LaTeX; it needs \\usepackage{booktabs}."""
    caption = f"{escape_latex(grid.table.title)}. {escape_latex(grid.caption)}"
    label = f"tab:{safe_file_name(grid.table.id)}"
    return _latex_float(caption, label, len(grid.columns), _latex_head(grid), _latex_body(grid))


def texts_to_latex(
    title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Return a plain table of texts for LaTeX, as to_latex does."""
    lines = [f"    {' & '.join(map(escape_latex, row))} \\\\" for row in (head, *rows)]
    caption = f"{escape_latex(title)}. {escape_latex(note)}"
    label = f"tab:{safe_file_name(title)}"
    return _latex_float(caption, label, len(head) - 1, lines[:1], lines[1:])


def texts_to_markdown(
    title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """Return a plain table of texts as Markdown, as to_markdown does."""
    lines = [_markdown_row(list(map(escape_markdown, row))) for row in (head, *rows)]
    lines.insert(1, _markdown_row(["---", *("--:" for _ in head[1:])]))
    return "\n".join([f"**{escape_markdown(title)}**", "", *lines, "", escape_markdown(note), ""])


def latex_comment(text: str) -> str:
    """Return a line of a comment that names a character that pdfLaTeX lacks, if there is one."""
    found = _NOT_IN_PDFLATEX.search(text)
    if not found:
        return ""
    return (
        f"% {found[0]} is no character of pdfLaTeX: use LuaLaTeX or XeLaTeX, and a font that has "
        "it\n"
    )


def _latex_float(
    caption: str, label: str, num_numbers: int, head: Sequence[str], body: Sequence[str]
) -> str:
    lines = [
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{caption}}}",
        f"  \\label{{{label}}}",
        f"  \\begin{{tabular}}{{l{'r' * num_numbers}}}",
        "    \\toprule",
        *head,
        "    \\midrule",
        *body,
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    table = "\n".join([*lines, ""])
    return f"% needs \\usepackage{{booktabs}}\n{latex_comment(table)}{table}"


def _latex_body(grid: Grid) -> list[str]:
    width = len(grid.columns) + 1
    lines = []
    for i, (title, rows) in enumerate(row_sections(grid)):
        if i:
            lines.append("    \\midrule")
        if title:
            emphasised = f"\\emph{{{escape_latex(title)}}}"
            lines.append(f"    \\multicolumn{{{width}}}{{l}}{{{emphasised}}} \\\\")
        for row in rows:
            cells = [escape_latex(row.title), *map(_latex_cell, row.cells)]
            lines.append(f"    {' & '.join(cells)} \\\\")
    return lines


def header_spans(
    columns: Sequence[dict[str, str]], axes: Sequence[str], level: int
) -> list[tuple[str, int]]:
    """Return (value, number of columns below it) for each header of a header line.

    Equal neighbours below the same outer headers are one header.
    """
    keys = [tuple(column[axis] for axis in axes[: level + 1]) for column in columns]
    return [(key[-1], len(list(group))) for key, group in itertools.groupby(keys)]


def _latex_head(grid: Grid) -> list[str]:
    lines = []
    for level in range(len(grid.table.columns)):
        first, cells, rules = 2, [""], []
        for value, span in header_spans(grid.columns, grid.table.columns, level):
            title = escape_latex(value_title(value, grid.titles))
            cells.append(title if span == 1 else f"\\multicolumn{{{span}}}{{c}}{{{title}}}")
            if span > 1:
                rules.append(f"\\cmidrule(lr){{{first}-{first + span - 1}}}")
            first += span
        lines.append(f"    {' & '.join(cells)} \\\\")
        if rules:
            lines.append(f"    {' '.join(rules)}")
    return lines


def _latex_cell(cell: GridCell) -> str:
    text = escape_latex(cell.text)
    return f"\\textbf{{{text}}}" if cell.is_best else text


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
