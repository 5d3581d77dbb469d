from collections.abc import Callable
from dataclasses import replace

import pytest
from support.reports import ACCURACY, TABLE

from kdbatch.report.data.study import Study
from kdbatch.report.tables.grid import GridCell, fill_grid
from kdbatch.vocab.plans import PlanRecord, Table


def texts(made: tuple[PlanRecord, Study], table: Table = TABLE) -> dict[str, list[str]]:
    return {
        row.role: [n.text for n in row.cells] for row in fill_grid(made[0], table, made[1]).rows
    }


def test_rows_are_roles_and_columns_are_cases(studied: Callable) -> None:
    made = studied()
    assert fill_grid(made[0], TABLE, made[1]).columns == (
        {"target": "ucf101", "subset": "10k"},
        {"target": "ucf101", "subset": "30k"},
    )
    assert texts(made) == {
        "T1": ["50.0", "55.0"],
        "T2": ["60.0", "64.0"],
        "student": ["76.0", "88.0"],
        "labels_only": ["76.0", "76.0"],
        "teacher_ensemble_top1": ["66.0", "66.0"],
        "teacher_oracle_top1": ["72.0", "72.0"],
    }


def test_several_seeds_show_mean_and_standard_deviation(studied: Callable) -> None:
    planted = ACCURACY | {("T1", "10k", 0): 0.48, ("T1", "10k", 2): 0.52}
    assert texts(studied(seeds=(0, 1, 2), accuracy=planted))["T1"] == ["50.0 ± 2.0", "55.0 ± 0.0"]


def test_a_missing_seed_is_counted_and_a_missing_number_is_a_dash(studied: Callable) -> None:
    made = studied(unfinished=[("student", "30k")])
    assert texts(made)["student"] == ["76.0", "\u2013"]
    assert "not measured yet" in fill_grid(made[0], TABLE, made[1]).caption
    assert GridCell(mean=61.94, sd=0.25, num_done=2, num_planned=3).text == "61.9 ± 0.2 (2 of 3)"


def test_the_best_of_a_column_is_marked_ties_as_printed_and_references_never(
    studied: Callable,
) -> None:
    planted = dict.fromkeys(ACCURACY, 0.1) | {("student", "10k"): 0.5, ("labels_only", "10k"): 0.5}
    made = studied(accuracy=planted)
    best = {row.role for row in fill_grid(made[0], TABLE, made[1]).rows if row.cells[0].is_best}
    assert best == {"student", "labels_only"}


def test_an_open_axis_is_averaged_within_each_seed(studied: Callable) -> None:
    made = studied(seeds=(0, 1))
    found = fill_grid(made[0], replace(TABLE, columns=("target",)), made[1])
    assert [n.mean for n in found.rows[0].cells] == [pytest.approx(52.5)]
    assert found.rows[0].cells[0].num_planned == 2 and found.rows[0].cells[0].sd == 0.0


def test_a_table_without_axes_has_one_column(studied: Callable) -> None:
    assert texts(studied(), replace(TABLE, columns=()))["T1"] == ["52.5"]


def test_a_role_that_the_plan_does_not_have_is_a_row_of_dashes(studied: Callable) -> None:
    assert texts(studied(), replace(TABLE, rows=("T1", "T9")))["T9"] == ["\u2013", "\u2013"]
