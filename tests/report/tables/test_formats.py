import csv
import io
from dataclasses import replace

import pytest
from support.golden import assert_golden
from support.reports import ACCURACY, TABLE, StudySpec
from support.studies import MakeStudy

from kdbatch.report.data.study import load_study
from kdbatch.report.tables.formats import row_sections, to_csv, to_latex, to_markdown
from kdbatch.report.tables.grid import Grid, fill_grid


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """A table with three seeds, an unfinished student, and a title full of markup."""
    runs_dir = tmp_path_factory.mktemp("tables")
    spec = StudySpec(
        seeds=(0, 1, 2),
        accuracy=ACCURACY | {("T1", "10k", 0): 0.48, ("T1", "10k", 2): 0.52},
        num_videos=50,
        unfinished=[("student", "30k")],
    )
    spec.write(runs_dir)
    study = load_study(runs_dir)
    table = replace(TABLE, title="50% & more_videos | R(2+1)D", note="Published: none.")
    return fill_grid(study.records[0], table, study)


def test_markdown_is_the_accepted_text(grid: Grid) -> None:
    assert_golden("report_table.md", to_markdown(grid))


def test_latex_is_the_accepted_text(grid: Grid) -> None:
    assert_golden("report_table.tex", to_latex(grid))


def test_csv_is_the_accepted_text(grid: Grid) -> None:
    assert_golden("report_table.csv", to_csv(grid))


def test_csv_has_every_digit_and_one_line_per_number(grid: Grid) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(grid))))
    assert len(rows) == sum(len(row.cells) for row in grid.rows)
    means = [float(row["mean"]) for row in rows if row["role"] == "T1"]
    assert means == [cell.mean for cell in grid.rows[0].cells]


def test_latex_braces_and_columns_balance(grid: Grid) -> None:
    text = to_latex(grid)
    unescaped = text.replace(r"\{", "").replace(r"\}", "")
    assert unescaped.count("{") == unescaped.count("}")
    num_separators = set()
    for line in text.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            num_separators.add(line.replace(r"\&", "").count("&"))
    assert num_separators == {2}


def test_probes_stand_below_controls_under_a_heading_of_their_own(make_study: MakeStudy) -> None:
    record, study = make_study(num_videos=50)
    probes = [replace(cell, role="T1.linear") for cell in record.cells if cell.role == "T1"]
    record = replace(
        record,
        roles=record.roles | {"T1.linear": "T1, linear probe"},
        cells=(*record.cells, *probes),
    )
    table = replace(TABLE, rows=(*TABLE.rows, "T1.linear"))
    sections = list(row_sections(fill_grid(record, table, study)))
    assert [(title, [row.role for row in rows]) for title, rows in sections][:3] == [
        ("", ["T1", "T2", "student"]),
        ("Controls", ["labels_only"]),
        ("Pretrained features, before any fine-tuning", ["T1.linear"]),
    ]
