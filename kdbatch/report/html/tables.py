"""Writes tables as HTML: headers that span columns, sortable columns, controls set apart."""

from collections.abc import Sequence

from kdbatch.report.escape import escape_html
from kdbatch.report.html.sections import TextTable
from kdbatch.report.labels import format_number, value_title
from kdbatch.report.tables.formats import (
    header_spans,
    row_sections,
    texts_to_latex,
    texts_to_markdown,
)
from kdbatch.report.tables.grid import Grid, GridCell


def grid_html(grid: Grid) -> str:
    """Return a declared table.

    Its columns sort within each group of rows: models, controls, references, published numbers.
    """
    bodies = []
    for title, rows in row_sections(grid):
        lines = []
        if title:
            span = f'colspan="{len(grid.columns) + 1}" scope="rowgroup"'
            lines.append(f'<tr class="part"><th {span}>{escape_html(title)}</th></tr>')
        for row in rows:
            head = f'<th scope="row">{escape_html(row.title)}</th>'
            lines.append(f'<tr class="{row.group}">{head}{"".join(map(_cell, row.cells))}</tr>')
        group = escape_html(rows[0].group)
        bodies.append(f'<tbody class="{group}">{"".join(lines)}</tbody>')
    return _scroll(f'<table class="grid" data-sortable>{_head(grid)}{"".join(bodies)}</table>')


def text_table_html(table: TextTable) -> str:
    """Return a plain table, sortable, with its LaTeX and Markdown."""
    about = table.title, table.note, table.head, table.rows
    copies = copy_html(texts_to_latex(*about), texts_to_markdown(*about))
    return table_html(table.head, table.rows, runs=table.runs) + copies


def copy_html(latex: str, markdown: str) -> str:
    """Return the place of the buttons that copy a table; page.js puts them there."""
    latex, markdown = escape_html(latex), escape_html(markdown)
    return f'<p class="copy" hidden data-latex="{latex}" data-markdown="{markdown}"></p>'


def table_html(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    num_text_columns: int = 1,
    runs: Sequence[Sequence[str]] = (),
) -> str:
    """Return a sortable table; its first `num_text_columns` columns are text, the others numbers.
    `runs` are those behind each row.

    All texts are escaped: `rows` cannot hold markup.
    """
    kinds = ["text" if i < num_text_columns else "num" for i in range(len(head))]
    names = "".join(
        f'<th scope="col" class="{kind}">{escape_html(name)}</th>'
        for name, kind in zip(head, kinds, strict=True)
    )
    lines = []
    for i, row in enumerate(rows):
        behind = runs_attribute(runs[i]) if runs else ""
        cells = "".join(
            f'<td class="{kind}">{escape_html(text)}</td>'
            for text, kind in zip(row[1:], kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row"{behind}>{escape_html(row[0])}</th>{cells}</tr>')
    contents = f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return _scroll(f"<table data-sortable>{contents}</table>")


def _head(grid: Grid) -> str:
    """Return one header line per axis; a table without axes has its unit as header."""
    axes = grid.table.columns
    lines = []
    for level, axis in enumerate(axes):
        is_last = level == len(axes) - 1
        scope, kind = ("col", "num") if is_last else ("colgroup", "over")
        cells = [f'<th scope="col" class="text">{escape_html(axis)}</th>']
        for value, span in header_spans(grid.columns, axes, level):
            title = escape_html(value_title(value, grid.titles))
            cells.append(f'<th scope="{scope}" colspan="{span}" class="{kind}">{title}</th>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    if not axes:
        unit = f'<th scope="col" class="num">{escape_html(grid.unit)}</th>'
        lines.append(f'<tr><th scope="col" class="text"></th>{unit}</tr>')
    return f"<thead>{''.join(lines)}</thead>"


def _cell(cell: GridCell) -> str:
    """Return mean and spread; a number that is missing has the reason as tooltip."""
    if cell.mean is None:
        why = "not part of this study"
        if cell.num_planned:
            why = f"0 of {cell.num_planned} seeds measured"
        runs = runs_attribute(cell.run_ids)
        return f'<td class="num none" title="{why}"{runs}>{escape_html(cell.text)}</td>'
    value = escape_html(format_number(cell.mean))
    if cell.is_best:
        value = f"<strong>{value}</strong>"
    if cell.sd is not None:
        value += f'<span class="sd"> ± {escape_html(format_number(cell.sd))}</span>'
    if cell.is_partial:
        value += f'<span class="sd"> ({cell.num_done} of {cell.num_planned})</span>'
    runs = runs_attribute(cell.run_ids)
    return f'<td class="num" data-value="{cell.mean!r}"{runs}>{value}</td>'


def runs_attribute(*sides: Sequence[str]) -> str:
    """Return the attribute of an element whose number has these runs behind it: their ids, those
    of the two sides of a difference apart. Empty where there is none.
    """
    text = "|".join(" ".join(side) for side in sides if side)
    return f' data-runs="{escape_html(text)}"' if text else ""


def _scroll(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'
