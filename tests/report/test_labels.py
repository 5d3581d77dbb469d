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


def test_differences_always_wear_their_sign_but_zero_has_none() -> None:
    assert [format_signed(v) for v in (2.0, -2.0, 0.01)] == ["+2.0", "\u22122.0", "0.0"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.004, "14 s"), (0.5, "30 min"), (1234.56, "1,234.6 h"), (None, "\u2013")]
)
def test_device_time_is_told_in_the_unit_that_fits(value: float | None, text: str) -> None:
    assert format_hours(value) == text


def test_times_are_read_as_seconds_or_left_as_text() -> None:
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


def test_what_pretrained_features_are_asked_is_no_control() -> None:
    assert [role_group(r) for r in ("T1.linear", "T12.retrieval")] == ["probe", "probe"]


def test_a_case_reads_in_published_names() -> None:
    assert (
        case_title({"target": "ucf101", "backbone": "r21d_10", "subset": "10k"})
        == "UCF101 · R(2+1)D · 10k"
    )


def test_what_an_experiment_refers_to_is_neither_teacher_nor_control() -> None:
    assert [role_group(r, ("T3", "alone")) for r in ("T1", "T3", "alone", "labels_only")] == [
        "teacher",
        "reference",
        "reference",
        "control",
    ]
