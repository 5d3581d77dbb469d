from dataclasses import replace

import numpy as np
import pytest
from support.reports import find_run_id
from support.studies import MakeStudy

from kdbatch.report.figures.drawing import Label
from kdbatch.report.figures.errors import (
    compared_roles,
    draw_errors,
    error_correlations,
    phi_coefficient,
)
from kdbatch.report.labels import NO_VALUE
from kdbatch.report.stats.correctness import Correctness, load_correctness


def test_phi_is_the_correlation_over_shared_videos() -> None:
    first_N = np.array([True, True, False, False, True])
    second_N = np.array([True, False, False, False, True])
    first_keys, second_keys = ("a", "b", "c", "d", "x"), ("a", "b", "c", "d", "y")
    first = Correctness(keys=first_keys, groups=first_keys, correct_N=first_N)
    second = Correctness(keys=second_keys, groups=second_keys, correct_N=second_N)
    # 2x2 table of the shared videos: both right 1, only first 1, only second 0, neither 2;
    # phi = (1*2 - 1*0) / sqrt(2*2*1*3)
    assert phi_coefficient(first, second) == pytest.approx(2 / np.sqrt(12))
    assert phi_coefficient(first, first) == pytest.approx(1.0)


def test_phi_of_a_run_that_is_always_right_is_nan() -> None:
    keys = ("a", "b", "c")
    varied = Correctness(keys=keys, groups=keys, correct_N=np.array([True, False, True]))
    always_right = Correctness(keys=keys, groups=keys, correct_N=np.ones(3, dtype=bool))
    assert np.isnan(phi_coefficient(varied, always_right))


def test_the_matrix_is_symmetric_with_ones_and_averages_over_equal_seeds(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(seeds=(0, 1))
    roles = ["T1", "T2", "student"]
    groups, _ = load_correctness(study, [c.run_id for c in record.cells], metric="top1")
    correctness = {run: found for group in groups.values() for run, found in group.items()}
    case = {"target": "ucf101", "subset": "10k"}
    matrix_RR = error_correlations(record, roles, case, correctness)
    assert matrix_RR == pytest.approx(matrix_RR.T)
    assert np.diag(matrix_RR) == pytest.approx(1.0)
    by_seed = []
    for seed in (0, 1):
        first, second = (find_run_id(record, role, "10k", seed) for role in ("T1", "T2"))
        by_seed.append(phi_coefficient(correctness[first], correctness[second]))
    assert matrix_RR[0, 1] == pytest.approx(np.mean(by_seed))


def test_a_reference_is_not_compared_whatever_its_name(make_study: MakeStudy) -> None:
    record, _ = make_study()
    assert compared_roles(record) == ["T1", "T2", "student", "labels_only"]
    assert compared_roles(replace(record, references=("T2",))) == ["T1", "student", "labels_only"]


def test_a_role_without_results_is_blank_and_without_results_there_is_no_figure(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(unfinished=[("T1", "10k")])
    drawing, warnings = draw_errors(record, study)
    assert drawing and warnings == ()
    numbers = [m.text for m in drawing.marks if isinstance(m, Label) and m.align == "center"]
    assert len(numbers) == 2 * 4**2
    # A role correlates with itself by 1; the one without results has no number: 7 of 16.
    assert numbers[:16].count(NO_VALUE) == 7 and numbers[16:].count(NO_VALUE) == 0
    assert numbers.count("1.00") >= 3 + 4
    roles = ("T1", "T2", "student", "labels_only")
    record, study = make_study(unfinished=[(r, s) for r in roles for s in ("10k", "30k")])
    assert draw_errors(record, study)[0] is None
