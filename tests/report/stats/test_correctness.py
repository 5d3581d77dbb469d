from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from support.reports import find_run_id

from kdbatch.report.data.study import load_study
from kdbatch.report.stats.correctness import resample_runs
from kdbatch.result.schema import PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.runs import RunFolder


def predictions(folder: RunFolder) -> pl.DataFrame:
    return pl.read_parquet(folder.predictions)


def test_accuracy_from_predictions_is_the_reported_one(studied: Callable) -> None:
    record, study = studied()
    runs = [c.run_id for c in record.cells]
    evidence = resample_runs(study, runs, metric="top1")
    assert evidence.warnings == ()
    assert evidence.resampled.accuracy == {
        r: pytest.approx(v) for r in set(runs) if (v := study.value(r, "top1")) is not None
    }


def test_the_label_among_the_five_most_probable_counts_for_top5(studied: Callable) -> None:
    record, study = studied()
    run = find_run_id(record, "T1", "10k")
    evidence = resample_runs(study, [run], metric="top5")
    assert evidence.resampled.accuracy == {run: 100.0} and evidence.resampled.num_videos == {
        run: 400
    }


def test_predictions_that_contradict_the_reported_accuracy_give_no_interval(
    studied: Callable,
) -> None:
    record, study = studied()
    run = find_run_id(record, "T1", "10k")
    rows = [
        {
            "run_id": run,
            "key": f"v{i}",
            "label": i % 4,
            "place": i % 4,
            "probability_K": [0.25] * 4,
            "logit_K": [0.0] * 4,
        }
        for i in range(40)
    ]
    write_table(RunFolder(study.runs_dir / run).predictions, rows, schema=PREDICTIONS)
    evidence = resample_runs(load_study(study.runs_dir), [run], metric="top1")
    assert (
        "give 25.00 percent where rows.parquet says 50.00" in evidence.warnings[0]
        and evidence.resampled.accuracy == {}
    )


@pytest.mark.parametrize(
    "damage", [{"place": None}, {"place": -1}, {"key": None}, {"key": "v0000"}]
)
def test_what_is_no_prediction_is_named(studied: Callable, damage: dict[str, object]) -> None:
    record, study = studied()
    run = find_run_id(record, "T1", "10k")
    folder = RunFolder(study.runs_dir / run)
    rows = predictions(folder).to_dicts()
    rows[3] |= damage
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    study = load_study(study.runs_dir)
    assert (
        len(study.warnings) == 1
        and run in study.warnings[0]
        and "keys or places that are none" in study.warnings[0]
    )
    assert resample_runs(study, [run], metric="top1").resampled.accuracy == {}


def test_runs_on_different_videos_are_compared_on_those_that_all_have(studied: Callable) -> None:
    record, study = studied()
    short, whole = find_run_id(record, "T1", "10k"), find_run_id(record, "T2", "10k")
    folder = RunFolder(study.runs_dir / short)
    rows = predictions(folder).filter(~pl.col("key").is_in(["v0000", "v0001"]))
    hit_share = float((rows["probability_K"].list.arg_max() == rows["label"]).mean())
    write_table(folder.predictions, rows.to_dicts(), schema=PREDICTIONS)
    write_measures(
        folder.rows,
        short,
        [Measure(name="top1", value=100 * hit_share, unit="percent", subset="ucf101/test01")],
        schema=ROWS,
    )
    study = load_study(study.runs_dir)
    evidence = resample_runs(study, [short, whole], metric="top1")
    assert "claims use the 398 videos of 400 that all have" in evidence.warnings[0]
    assert set(evidence.resampled.num_videos.values()) == {398}


def test_the_same_results_give_the_same_replicates(studied: Callable) -> None:
    record, study = studied()
    run = find_run_id(record, "T1", "10k")
    first, second = (
        resample_runs(study, [run], metric="top1").resampled.replicates[run] for _ in range(2)
    )
    assert np.array_equal(first, second)
