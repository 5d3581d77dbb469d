from dataclasses import replace

import pytest
from support.studies import MakeStudy

from kdbatch.report.figures.drawing import Markers
from kdbatch.report.figures.gains import OVER_CONTROL, draw_gains
from kdbatch.report.labels import case_title
from kdbatch.report.stats.gains import student_gains


def test_a_gain_is_over_the_teachers_mean_and_over_the_control(make_study: MakeStudy) -> None:
    found = student_gains(*make_study())
    gains = found.cases
    assert found.warnings == ()
    assert [case_title(gain.case, {}) for gain in gains] == ["UCF101 · 10k", "UCF101 · 30k"]
    effects = []
    for gain in gains:
        assert gain.over_teachers and gain.over_control
        effects.append([gain.over_teachers.effect, gain.over_control.effect])
    assert effects == [pytest.approx([76 - 55, 0.0]), pytest.approx([88 - 59.5, 12.0])]
    equal = gains[0].over_control
    assert equal and equal.low is not None and equal.high is not None
    assert equal.low <= 0 <= equal.high


def test_a_reference_is_no_teacher_whatever_its_name(make_study: MakeStudy) -> None:
    record, study = make_study()
    gains = student_gains(replace(record, references=("T2",)), study).cases
    effects = [gain.over_teachers.effect for gain in gains if gain.over_teachers]
    assert effects == [pytest.approx(76 - 50), pytest.approx(88 - 55)]


def test_a_case_that_waits_for_a_teacher_shows_the_control_alone(make_study: MakeStudy) -> None:
    record, study = make_study(unfinished=[("T2", "30k"), ("student", "10k")])
    gains = student_gains(record, study)
    has_gain = [(g.over_teachers is not None, g.over_control is not None) for g in gains.cases]
    assert has_gain == [(False, False), (False, True)]
    drawing = draw_gains(gains, {})
    assert drawing
    markers = [mark for mark in drawing.marks if isinstance(mark, Markers) and mark.edge]
    assert [mark.colour for mark in markers] == [OVER_CONTROL.colour]


def test_without_a_comparison_there_is_no_figure(make_study: MakeStudy) -> None:
    record, study = make_study(unfinished=[("student", "10k"), ("student", "30k")])
    assert draw_gains(student_gains(record, study), {}) is None


def test_the_average_is_over_the_best_teacher_of_each_case(make_study: MakeStudy) -> None:
    gains = student_gains(*make_study(seeds=(0, 1)))
    assert [gain.best_teacher for gain in gains.cases] == ["T2", "T2"]
    average = gains.overall
    assert average and average.over_best and average.over_control
    assert average.over_best.effect == pytest.approx((76 - 60 + 88 - 64) / 2)
    assert average.over_control.effect == pytest.approx(6.0)
    accuracies = average.student, average.best, average.control
    assert accuracies == (pytest.approx(82), pytest.approx(62), pytest.approx(76))
