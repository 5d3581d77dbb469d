"""A filled table as Markdown, CSV and LaTeX. HTML is in table_html.py."""

import csv
import io
import itertools
from collections.abc import Iterator, Sequence

from kdbatch.report.escape import escape_latex, escape_markdown, safe_file_name
from kdbatch.report.labels import RoleGroup, case_title, value_title
from kdbatch.report.tables.grid import Grid, GridCell, GridRow

SECTION_TITLES: dict[RoleGroup, str] = {
    "reference": "What the student is measured against",
    "control": "Controls",
    "probe": "Pretrained features, before any fine-tuning",
    "ensemble": "For reference, from the teachers' predictions",
    "published": "As published",
}


def row_sections(grid: Grid) -> Iterator[tuple[str, tuple[GridRow, ...]]]:
    """Rows in their order, cut where models end and controls begin: (title or nothing, rows)."""
    for title, rows in itertools.groupby(
        grid.rows, key=lambda row: SECTION_TITLES.get(row.group, "")
    ):
        yield title, tuple(rows)


def to_markdown(grid: Grid) -> str:
    """One header line; every column carries its whole case."""
    head = ["", *(escape_markdown(case_title(column)) for column in grid.columns)]
    lines = [_markdown_row(head), _markdown_row(["---", *("--:" for _ in grid.columns)])]
    for title, rows in row_sections(grid):
        if title:
            lines.append(
                _markdown_row([f"*{escape_markdown(title)}*", *("" for _ in grid.columns)])
            )
        for row in rows:
            numbers = [f"**{n.text}**" if n.is_best else n.text for n in row.cells]
            lines.append(_markdown_row([escape_markdown(row.title), *numbers]))
    return (
        f"**{escape_markdown(grid.table.title)}**\n\n"
        + "\n".join(lines)
        + f"\n\n{escape_markdown(grid.caption)}\n"
    )


def to_csv(grid: Grid) -> str:
    """One line per number, with all digits: what a plot wants."""
    axes = grid.table.columns
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "group",
            "role",
            "title",
            *axes,
            "metric",
            "unit",
            "mean",
            "sd",
            "seeds_done",
            "seeds_planned",
        ]
    )
    for row in grid.rows:
        for column, n in zip(grid.columns, row.cells, strict=True):
            metric = row.role if row.group == "ensemble" else grid.table.metric
            values = [_all_digits(n.mean), _all_digits(n.sd), n.num_done, n.num_planned]
            writer.writerow(
                [
                    row.group,
                    row.role,
                    row.title,
                    *(column[a] for a in axes),
                    metric,
                    grid.unit,
                    *values,
                ]
            )
    return out.getvalue()


def to_latex(grid: Grid) -> str:
    """A booktabs table; needs \\usepackage{booktabs}."""
    width = len(grid.columns) + 1
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{escape_latex(grid.table.title)}. {escape_latex(grid.caption)}}}",
        f"  \\label{{tab:{safe_file_name(grid.table.id)}}}",
        f"  \\begin{{tabular}}{{l{'r' * len(grid.columns)}}}",
        "    \\toprule",
        *_latex_head(grid),
        "    \\midrule",
    ]
    for i, (title, rows) in enumerate(row_sections(grid)):
        lines += ["    \\midrule"] if i else []
        lines += (
            [f"    \\multicolumn{{{width}}}{{l}}{{\\emph{{{escape_latex(title)}}}}} \\\\"]
            if title
            else []
        )
        lines += [
            f"    {' & '.join([escape_latex(row.title), *map(_latex_number, row.cells)])} \\\\"
            for row in rows
        ]
    return "\n".join([*lines, "    \\bottomrule", "  \\end{tabular}", "\\end{table}", ""])


def header_spans(
    columns: Sequence[dict[str, str]], axes: Sequence[str], level: int
) -> list[tuple[str, int]]:
    """(value, number of columns that it heads) of one header line; equal neighbours under one outer
    heading are one.
    """
    keys = [tuple(column[axis] for axis in axes[: level + 1]) for column in columns]
    return [(key[-1], len(list(run))) for key, run in itertools.groupby(keys)]


def _latex_head(grid: Grid) -> list[str]:
    lines = []
    for level in range(len(grid.table.columns)):
        place, cells, rules = 2, [""], []
        for value, span in header_spans(grid.columns, grid.table.columns, level):
            title = escape_latex(value_title(value))
            cells.append(title if span == 1 else f"\\multicolumn{{{span}}}{{c}}{{{title}}}")
            rules += [f"\\cmidrule(lr){{{place}-{place + span - 1}}}"] if span > 1 else []
            place += span
        lines.append(f"    {' & '.join(cells)} \\\\")
        lines += [f"    {' '.join(rules)}"] if rules else []
    return lines


def _latex_number(n: GridCell) -> str:
    text = escape_latex(n.text)
    return f"\\textbf{{{text}}}" if n.is_best else text


def _all_digits(value: float | None) -> str:
    return "" if value is None else repr(value)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
