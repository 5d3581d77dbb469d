import math

import pytest

from kdbatch.report.labels import (
    case_title,
    format_hours,
    format_number,
    format_signed,
    format_time,
    role_group,
)


def test_numbers_have_fixed_digits_and_a_true_minus() -> None:
    assert [format_number(v) for v in (61.94, -3.0, -0.04, None, math.nan)] == [
        "61.9",
        "\u22123.0",
        "0.0",
        "\u2013",
        "\u2013",
    ]


def test_differences_have_a_sign_but_zero_has_none() -> None:
    assert [format_signed(v) for v in (2.0, -2.0, 0.01)] == ["+2.0", "\u22122.0", "0.0"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.004, "14 s"), (0.5, "30 min"), (1234.56, "1,234.6 h"), (None, "\u2013")]
)
def test_device_time_is_printed_in_a_fitting_unit(value: float | None, text: str) -> None:
    assert format_hours(value) == text


def test_seconds_are_formatted_as_utc_and_texts_are_unchanged() -> None:
    assert format_time(0.5 * 86400) == "1970-01-01 12:00 UTC"
    assert format_time("2026-01-01") == "2026-01-01"
    assert format_time(None) == format_time(math.inf) == format_time([]) == ""


def test_roles_that_are_neither_teacher_nor_student_are_controls() -> None:
    assert [role_group(r) for r in ("T1", "T12", "student", "labels_only", "T1_alone")] == [
        "teacher",
        "teacher",
        "student",
        "control",
        "control",
    ]


def test_probes_of_pretrained_features_are_not_controls() -> None:
    assert [role_group(r) for r in ("T1.linear", "T12.retrieval")] == ["probe", "probe"]


def test_a_case_is_printed_with_published_names() -> None:
    case = {"target": "ucf101", "backbone": "r21d_10", "subset": "10k"}
    assert case_title(case, {}) == "UCF101 · R(2+1)D · 10k"


def test_an_experiments_references_are_neither_teachers_nor_controls() -> None:
    assert [role_group(r, ("T3", "alone")) for r in ("T1", "T3", "alone", "labels_only")] == [
        "teacher",
        "reference",
        "reference",
        "control",
    ]
