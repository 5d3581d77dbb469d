import numpy as np
import polars as pl
import pytest
from support.reports import find_run_id
from support.studies import MakeStudy

from kdbatch.report.data.study import load_study
from kdbatch.report.stats.correctness import resample_runs
from kdbatch.result.schema import PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.runs.folder import RunFolder


def test_accuracy_from_predictions_is_the_reported_one(make_study: MakeStudy) -> None:
    record, study = make_study()
    runs = {cell.run_id for cell in record.cells}
    evidence = resample_runs(study, sorted(runs), metric="top1")
    assert evidence.warnings == ()
    reported = {run: study.value(run, "top1") for run in runs}
    expected = {run: value for run, value in reported.items() if value is not None}
    assert evidence.resampled.accuracy == pytest.approx(expected)


def test_a_label_among_the_five_most_probable_classes_counts_for_top5(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    run = find_run_id(record, "T1", "10k")
    evidence = resample_runs(study, [run], metric="top5")
    assert evidence.resampled.accuracy == {run: 100.0}
    assert evidence.resampled.num_videos == {run: 400}


def test_predictions_that_contradict_the_reported_accuracy_give_no_interval(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    run = find_run_id(record, "T1", "10k")
    rows = []
    for i in range(40):
        row = {"run_id": run, "key": f"v{i}", "label": i % 4, "place": i % 4}
        rows.append(row | {"probability_K": [0.25] * 4, "logit_K": [0.0] * 4})
    write_table(RunFolder(study.runs_dir / run).predictions, rows, schema=PREDICTIONS)
    evidence = resample_runs(load_study(study.runs_dir), [run], metric="top1")
    assert "give 25.00 percent, but rows.parquet has 50.00" in evidence.warnings[0]
    assert evidence.resampled.accuracy == {}


@pytest.mark.parametrize(
    "damage", [{"place": None}, {"place": -1}, {"key": None}, {"key": "v0000"}]
)
def test_a_file_with_an_impossible_prediction_is_named(
    make_study: MakeStudy, damage: dict[str, object]
) -> None:
    record, study = make_study()
    run = find_run_id(record, "T1", "10k")
    folder = RunFolder(study.runs_dir / run)
    rows = pl.read_parquet(folder.predictions).to_dicts()
    rows[3] |= damage
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    study = load_study(study.runs_dir)
    (warning,) = study.warnings
    assert run in warning and "missing or repeated keys" in warning
    assert resample_runs(study, [run], metric="top1").resampled.accuracy == {}


def test_runs_on_different_videos_are_compared_on_those_that_all_have(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    short, whole = (find_run_id(record, role, "10k") for role in ("T1", "T2"))
    folder = RunFolder(study.runs_dir / short)
    predictions = pl.read_parquet(folder.predictions)
    kept = predictions.filter(~pl.col("key").is_in(["v0000", "v0001"]))
    write_table(folder.predictions, kept.to_dicts(), schema=PREDICTIONS)
    percent = 100 * float(np.mean(kept["place"].to_numpy() == 0))
    top1 = Measure(name="top1", value=percent, unit="percent", subset="ucf101/test01")
    write_measures(folder.rows, short, [top1], schema=ROWS)
    study = load_study(study.runs_dir)
    evidence = resample_runs(study, [short, whole], metric="top1")
    assert "claims use the 398 videos of 400 that all runs have" in evidence.warnings[0]
    assert set(evidence.resampled.num_videos.values()) == {398}


def test_equal_results_give_equal_replicates(make_study: MakeStudy) -> None:
    record, study = make_study()
    run = find_run_id(record, "T1", "10k")
    first, second = (resample_runs(study, [run], metric="top1") for _ in range(2))
    assert np.array_equal(first.resampled.replicates[run], second.resampled.replicates[run])


def test_videos_are_resampled_by_the_groups_that_the_predictions_name(
    make_study: MakeStudy,
) -> None:
    record, study = make_study()
    run = find_run_id(record, "T1", "10k")
    folder = RunFolder(study.runs_dir / run)
    rows = pl.read_parquet(folder.predictions).to_dicts()
    for i, row in enumerate(rows):
        row["group"] = f"scene{i // 5}"
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    evidence = resample_runs(load_study(study.runs_dir), [run], metric="top1")
    assert evidence.resampled.num_groups == {run: 80}
    assert evidence.resampled.num_videos == {run: 400}


def test_in_a_file_without_groups_each_video_is_its_own(make_study: MakeStudy) -> None:
    record, study = make_study()
    old, new = (find_run_id(record, role, "10k") for role in ("T1", "T2"))
    path = RunFolder(study.runs_dir / old).predictions
    pl.read_parquet(path).drop("group").write_parquet(path)
    study = load_study(study.runs_dir)
    assert study.warnings == ()
    evidence = resample_runs(study, [old, new], metric="top1")
    assert evidence.resampled.num_groups == {old: 400, new: 400}


def test_runs_that_are_drawn_with_others_get_the_replicates_of_their_own(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(seeds=(0, 1))
    students = [cell.run_id for cell in record.cells_of("student")]
    teachers = [cell.run_id for cell in record.cells_of("T1")]
    alone = resample_runs(study, students, metric="top1").resampled
    study.resampled.clear()
    together = resample_runs(study, students, metric="top1", also=teachers).resampled
    assert list(together.accuracy) == list(alone.accuracy) == sorted(students)
    (drawn,) = study.resampled.values()
    later = resample_runs(study, [*teachers, *students], metric="top1").resampled
    assert list(study.resampled.values()) == [drawn]  # nothing is drawn again
    for run in students:
        assert (together.replicates[run] == alone.replicates[run]).all()
        assert (later.replicates[run] == alone.replicates[run]).all()
    own = resample_runs(make_study(seeds=(0, 1))[1], teachers, metric="top1").resampled
    for run in teachers:
        assert (later.replicates[run] == own.replicates[run]).all()
