import pytest
from support.reports import ROLES, find_run_id
from support.studies import MakeStudy

from kdbatch.report.figures.curves import MAX_POINTS, draw_curves, thin_curves
from kdbatch.report.figures.drawing import Strokes
from kdbatch.result.read import read_curves
from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.runs import RunFolder


def test_a_long_curve_is_thinned_by_averaging_and_shares_become_percent(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    run = find_run_id(record, "student", "10k")
    steps = range(1, 1001)
    curve = [Measure(name="accuracy", value=s / 1000, unit="1", step=s) for s in steps]
    write_measures(RunFolder(study.runs_dir / run).curves, run, curve, schema=CURVES)
    steps, values = thin_curves(read_curves(study.runs_dir, [run]).frame)[run]
    assert len(steps) == MAX_POINTS and steps[0] == 3.0 and values[0] == pytest.approx(0.3)
    assert values == sorted(values)


def test_curves_are_drawn_and_a_broken_file_is_named(make_study: MakeStudy) -> None:
    record, study = make_study()
    broken = RunFolder(study.runs_dir / find_run_id(record, "T1", "10k")).curves
    broken.write_bytes(b"PAR1 nothing PAR1")
    drawing, warnings = draw_curves(record, study)
    assert drawing
    curves = [mark for mark in drawing.marks if isinstance(mark, Strokes) and mark.clip]
    drawn = [role for role in record.roles if find_run_id(record, role, "30k")]
    assert len(curves) == 2 * len(drawn) - 1 and all(len(mark.lines[0]) > 1 for mark in curves)
    assert len(warnings) == 1 and str(broken) in warnings[0]


def test_without_curves_there_is_no_figure(make_study: MakeStudy) -> None:
    everything = [(role, subset) for role in ROLES for subset in ("10k", "30k")]
    record, study = make_study(unfinished=everything)
    assert draw_curves(record, study) == (None, ())
