from dataclasses import replace

import pytest
from support.reports import ACCURACY, TABLE, find_run_id
from support.studies import MakeStudy, with_single_teachers

from kdbatch.report.data.study import Study
from kdbatch.report.tables.grid import GridCell, fill_grid
from kdbatch.vocab.plans.declarations import Table
from kdbatch.vocab.plans.records import PlanRecord


def texts(record: PlanRecord, study: Study, table: Table = TABLE) -> dict[str, list[str]]:
    """Return the printed numbers by role."""
    grid = fill_grid(record, table, study)
    return {row.role: [cell.text for cell in row.cells] for row in grid.rows}


def test_rows_are_roles_and_columns_are_cases(make_study: MakeStudy) -> None:
    record, study = make_study()
    assert fill_grid(record, TABLE, study).columns == (
        {"target": "ucf101", "subset": "10k"},
        {"target": "ucf101", "subset": "30k"},
    )
    assert texts(record, study) == {
        "T1": ["50.0", "55.0"],
        "T2": ["60.0", "64.0"],
        "student": ["76.0", "88.0"],
        "labels_only": ["76.0", "76.0"],
        "teacher_ensemble_top1": ["66.0", "66.0"],
        "teacher_oracle_top1": ["72.0", "72.0"],
    }


def test_a_student_of_a_single_teacher_has_no_ensemble(make_study: MakeStudy) -> None:
    record, study = make_study()
    assert study.runs[find_run_id(record, "student", "10k")].num_teachers == 2
    assert study.runs[find_run_id(record, "T1", "10k")].num_teachers == 0
    some = texts(record, with_single_teachers(study, find_run_id(record, "student", "10k")))
    assert some["teacher_ensemble_top1"] == ["\u2013", "66.0"]
    assert set(texts(record, with_single_teachers(study))) == {*TABLE.rows}


def test_several_seeds_show_mean_and_standard_deviation(make_study: MakeStudy) -> None:
    accuracy = ACCURACY | {("T1", "10k", 0): 0.48, ("T1", "10k", 2): 0.52}
    record, study = make_study(seeds=(0, 1, 2), accuracy=accuracy)
    assert texts(record, study)["T1"] == ["50.0 ± 2.0", "55.0 ± 0.0"]


def test_a_missing_number_is_a_dash(make_study: MakeStudy) -> None:
    record, study = make_study(unfinished=[("student", "30k")])
    assert texts(record, study)["student"] == ["76.0", "\u2013"]
    assert "not measured yet" in fill_grid(record, TABLE, study).caption


def test_a_cell_with_a_missing_seed_counts_its_seeds() -> None:
    cell = GridCell(mean=61.94, sd=0.25, num_done=2, num_planned=3)
    assert cell.text == "61.9 ± 0.2 (2 of 3)"


def test_the_best_of_a_column_is_marked_with_ties_as_printed_and_never_an_ensemble(
    make_study: MakeStudy,
) -> None:
    accuracy = dict.fromkeys(ACCURACY, 0.1)
    accuracy |= {("student", "10k"): 0.5, ("labels_only", "10k"): 0.5}
    record, study = make_study(accuracy=accuracy)
    best = {row.role for row in fill_grid(record, TABLE, study).rows if row.cells[0].is_best}
    assert best == {"student", "labels_only"}


def test_an_open_axis_is_averaged_within_each_seed(make_study: MakeStudy) -> None:
    record, study = make_study(seeds=(0, 1))
    first_row = fill_grid(record, replace(TABLE, columns=("target",)), study).rows[0]
    (cell,) = first_row.cells
    assert (cell.mean, cell.sd, cell.num_planned) == (pytest.approx(52.5), 0.0, 2)


def test_a_table_without_axes_has_one_column(make_study: MakeStudy) -> None:
    assert texts(*make_study(), replace(TABLE, columns=()))["T1"] == ["52.5"]


def test_a_role_that_the_plan_does_not_have_is_a_row_of_dashes(make_study: MakeStudy) -> None:
    table = replace(TABLE, rows=("T1", "T9"))
    assert texts(*make_study(), table)["T9"] == ["\u2013", "\u2013"]
