import polars as pl
import pytest
from support.reports import ROLES, find_run_id
from support.studies import MakeStudy

from kdbatch.report.figures.curves import MAX_POINTS, draw_curves, thin_curve
from kdbatch.report.figures.drawing import Area, Drawing, Strokes
from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.runs.folder import RunFolder


def lines(drawing: Drawing) -> list[Strokes]:
    return [mark for mark in drawing.marks if isinstance(mark, Strokes) and mark.name]


def test_a_long_curve_is_thinned_by_averaging() -> None:
    steps = [float(step) for step in range(1, 1001)]
    curve = thin_curve(pl.DataFrame(dict.fromkeys(("step", "mean", "low", "high"), steps)))
    assert len(curve.steps) == MAX_POINTS and curve.steps[0] == curve.means[0] == 5.5
    assert curve.means == sorted(curve.means) and not curve.is_band


def test_curves_are_drawn_and_a_broken_file_is_named(make_study: MakeStudy) -> None:
    record, study = make_study()
    broken = RunFolder(study.runs_dir / find_run_id(record, "T1", "10k")).curves
    broken.write_bytes(b"PAR1 nothing PAR1")
    drawings, warnings = draw_curves(record, study)
    drawn = [role for role in record.roles if find_run_id(record, role, "30k")]
    curves = lines(drawings["accuracy"])
    assert len(curves) == 2 * len(drawn) - 1 and all(len(mark.lines[0]) > 1 for mark in curves)
    assert len(warnings) == 1 and str(broken) in warnings[0]


def test_a_curve_is_the_mean_over_seeds_in_percent_and_its_band_has_the_ends(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(seeds=(0, 1))
    for seed, share in ((0, 0.2), (1, 0.4)):
        run = find_run_id(record, "student", "10k", seed)
        curve = [Measure(name="accuracy", value=share, unit="1", step=step) for step in (1, 2)]
        path = RunFolder(study.runs_dir / run).curves
        write_measures(path, run, curve, schema=CURVES)
    drawing = draw_curves(record, study)[0]["accuracy"]
    (line, *_) = [mark for mark in lines(drawing) if mark.name == ROLES["student"]]
    assert line.clip
    _, bottom, _, height = line.clip

    def percent(y: float) -> float:
        return (y - bottom) / height * 102.0

    assert [percent(y) for _, y in line.lines[0]] == pytest.approx([30.0, 30.0])
    bands = [mark for mark in drawing.marks if isinstance(mark, Area) and mark.clip == line.clip]
    ends = [sorted(percent(y) for _, y in band.corners) for band in bands]
    assert any(each == pytest.approx([20.0, 20.0, 40.0, 40.0]) for each in ends)


def test_pretraining_has_figures_with_a_line_for_each_model_that_was_pretrained(
    make_study: MakeStudy,
) -> None:
    drawings, _ = draw_curves(*make_study(seeds=(0, 1), unfinished=[("T1", "10k")]))
    assert list(drawings) == ["accuracy", "pretraining_accuracy", "pretraining_loss"]
    loss = drawings["pretraining_loss"]
    assert [mark.name for mark in lines(loss)] == [ROLES["T1"], ROLES["T2"]] * 2
    line = lines(loss)[0]
    assert line.clip
    (_, bottom, _, height), (_, _, low, high) = line.clip, line.axes
    shown = [low + (y - bottom) / height * (high - low) for _, y in line.lines[0]]
    assert shown == pytest.approx([2 / epoch + 0.5 for epoch in range(1, 13)])


def test_without_curves_there_is_no_figure(make_study: MakeStudy) -> None:
    everything = [(role, subset) for role in (*ROLES, "pretrain") for subset in ("10k", "30k")]
    record, study = make_study(unfinished=everything)
    assert draw_curves(record, study) == ({}, ())
