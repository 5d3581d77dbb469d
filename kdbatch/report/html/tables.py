"""Tables as HTML: headers spanned by axis, sortable by their last line, controls set apart."""

from collections.abc import Sequence

from kdbatch.report.escape import escape_html
from kdbatch.report.html.sections import TextTable
from kdbatch.report.labels import format_number, value_title
from kdbatch.report.tables.formats import header_spans, row_sections
from kdbatch.report.tables.grid import Grid, GridCell


def grid_html(grid: Grid) -> str:
    """A declared table. Sorting stays inside models, controls, references and published numbers."""
    body = []
    for title, rows in row_sections(grid):
        heading = (
            f'<tr class="part"><th colspan="{len(grid.columns) + 1}" scope="rowgroup">{escape_html(title)}</th></tr>'
            if title
            else ""
        )
        lines = [
            f'<tr class="{row.group}"><th scope="row">{escape_html(row.title)}</th>{"".join(map(_cell, row.cells))}</tr>'
            for row in rows
        ]
        body.append(
            f'<tbody class="{escape_html(rows[0].group)}">{heading}{"".join(lines)}</tbody>'
        )
    return _scroll(f'<table class="grid" data-sortable>{_head(grid)}{"".join(body)}</table>')


def text_table_html(listing: TextTable) -> str:
    """A plain table, sortable."""
    return table_html(listing.head, listing.rows)


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """The first `left` columns are text. Nothing in `rows` is markup."""
    kinds = ["text" if i < left else "num" for i in range(len(head))]
    names = "".join(
        f'<th scope="col" class="{kind}">{escape_html(name)}</th>'
        for name, kind in zip(head, kinds, strict=True)
    )
    lines = []
    for row in rows:
        cells = "".join(
            f'<td class="{kind}">{escape_html(text)}</td>'
            for text, kind in zip(row[1:], kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row">{escape_html(row[0])}</th>{cells}</tr>')
    return _scroll(
        f"<table data-sortable><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _head(grid: Grid) -> str:
    levels = len(grid.table.columns)
    lines = []
    for level in range(levels):
        scope, kind = ("col", "num") if level == levels - 1 else ("colgroup", "over")
        cells = "".join(
            f'<th scope="{scope}" colspan="{span}" class="{kind}">{escape_html(value_title(value))}</th>'
            for value, span in header_spans(grid.columns, grid.table.columns, level)
        )
        corner = f'<th scope="col" class="text">{escape_html(grid.table.columns[level])}</th>'
        lines.append(f"<tr>{corner}{cells}</tr>")
    if not levels:
        lines.append(
            f'<tr><th scope="col" class="text"></th><th scope="col" class="num">{escape_html(grid.unit)}</th></tr>'
        )
    return f"<thead>{''.join(lines)}</thead>"


def _cell(n: GridCell) -> str:
    """Mean and spread; what is not measured says so to those who point at it."""
    order = "" if n.mean is None else f' data-value="{n.mean!r}"'
    if n.mean is None:
        why = f"0 of {n.num_planned} seeds measured" if n.num_planned else "not part of this study"
        return f'<td class="num none" title="{why}">{escape_html(n.text)}</td>'
    spread = (
        f'<span class="sd"> ± {escape_html(format_number(n.sd))}</span>' if n.sd is not None else ""
    )
    seeds = f'<span class="sd"> ({n.num_done} of {n.num_planned})</span>' if n.is_partial else ""
    value = escape_html(format_number(n.mean))
    return f'<td class="num"{order}>{f"<strong>{value}</strong>" if n.is_best else value}{spread}{seeds}</td>'


def _scroll(table: str) -> str:
    return f'<div class="scroll" tabindex="0">{table}</div>'
