from collections.abc import Callable
from pathlib import Path

import pytest

from kdbatch.report.figures.gains import draw_gains, student_gains


def test_a_gain_is_over_the_teachers_mean_and_over_the_control(studied: Callable) -> None:
    gains, warnings = student_gains(*studied())
    assert warnings == () and [title for title, _ in gains] == ["UCF101 · 10k", "UCF101 · 30k"]
    effects = [[c.effect for c in pair if c] for _, pair in gains]
    assert effects == [pytest.approx([76 - 55, 0.0]), pytest.approx([88 - 59.5, 12.0])]
    assert gains[0][1][1].low <= 0 <= gains[0][1][1].high


def test_a_case_that_waits_for_a_teacher_shows_the_control_alone(
    studied: Callable, tmp_path: Path
) -> None:
    record, study = studied(unfinished=[("T2", "30k"), ("student", "10k")])
    gains, _ = student_gains(record, study)
    assert [[bool(c) for c in pair] for _, pair in gains] == [[False, False], [False, True]]
    drawing, _ = draw_gains(record, study, tmp_path, name="gains")
    assert drawing and (tmp_path / "gains.pdf").stat().st_size > 1000


def test_nothing_to_compare_is_no_figure(studied: Callable, tmp_path: Path) -> None:
    record, study = studied(unfinished=[("student", "10k"), ("student", "30k")])
    assert draw_gains(record, study, tmp_path, name="gains") == (None, ()) and not list(
        tmp_path.glob("gains*")
    )
