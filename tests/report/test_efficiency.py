"""Accuracy against its cost, and the planned hours of the runs that are not done."""

from dataclasses import replace

import pytest
from support.reports import find_run_id
from support.studies import MakeStudy, WriteStudy

from kdbatch.report.build import build_report
from kdbatch.report.data.efficiency import efficiencies
from kdbatch.report.figures.drawing import Label
from kdbatch.report.figures.efficiency import draw_efficiency
from kdbatch.vocab.plans.records import RecordedRun, save_record


def test_hours_include_all_runs_that_a_student_learns_from_and_the_front_is_known(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    rows = {row.role: row for row in efficiencies(record, study)}
    one = 0.025  # of each run: a student has two teachers and their pretraining
    hours = {role: row.total_hours for role, row in rows.items()}
    assert hours == pytest.approx(
        {"T1": 2 * one, "T2": 2 * one, "student": 5 * one, "labels_only": one}
    )
    assert {role for role, row in rows.items() if row.is_on_front} == {"student", "labels_only"}
    assert rows["T2"].accuracy == pytest.approx((60 + 64) / 2) and rows["T2"].gmac == 21.36
    drawing = draw_efficiency(list(rows.values()), record.references)
    assert drawing and "T2 R(2+1)D" in [m.text for m in drawing.marks if isinstance(m, Label)]
    names = [m for m in drawing.marks if isinstance(m, Label) and m.text == "R(2+1)D"]
    assert [name.align for name in names] == ["left", "right"]  # few hours, most multiply-adds


def test_nothing_is_on_the_front_while_a_network_is_not_measured(make_study: MakeStudy) -> None:
    record, study = make_study(unfinished=[("T2", "10k")])
    rows = efficiencies(record, study)
    assert [row.role for row in rows if row.accuracy is None] == ["T2"]
    assert not any(row.is_on_front for row in rows)
    drawing = draw_efficiency(rows, record.references)
    assert drawing and "No front is drawn until all networks are measured." in drawing.caption


def test_the_page_has_the_planned_hours_of_the_runs_that_are_not_done(
    write_study: WriteStudy,
) -> None:
    record, runs_dir = write_study(unfinished=[("student", "10k")])
    waiting = find_run_id(record, "student", "10k")
    planned = RecordedRun(id=waiting, title="waits", kind="distill", device_hours=2.5)
    done = find_run_id(record, "student", "30k")
    other = RecordedRun(id=done, title="is done", kind="distill", device_hours=40.0)
    save_record(runs_dir, replace(record, runs=(planned, other)))
    page = build_report(runs_dir, to=runs_dir.parent / "report").page.read_text(encoding="utf-8")
    assert "about 2.5 h left to spend, as planned" in page and '<td class="num">2.50</td>' in page
    assert ">Efficiency</h3>" in page and "figures/subset_size_efficiency.pdf" in page
