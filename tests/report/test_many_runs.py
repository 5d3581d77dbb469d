"""Time and memory that a report of 2,000 runs takes, and the same report once more."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.reports import StudySpec
from support.speed import work

from kdbatch.result.schema import CURVES, PREDICTIONS
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.runs.folder import RunFolder

pytestmark = pytest.mark.slow
NUM_VIDEOS, NUM_CLASSES, NUM_EPOCHS = 3783, 101, 200
FIRST, AGAIN = 31.0, 20.0  # in units of support/speed.py; some 20 and 13
NUM_SEEDS = 137  # each adds at least 14 runs of its own
VIDEOS_PER_TILE = 100
CURVE_NAMES = (
    "loss",
    "accuracy",
    "lr",
    "hard",
    "soft",
    "teacher_weight_0",
    "teacher_weight_1",
    "clips_per_second",
)
CODE = "import sys; from kdbatch.cli.commands import main; sys.argv[1:] = ['report']; main()"
MEASURE = f"""
import resource, subprocess, sys
command = [sys.executable, "-c", {CODE!r}]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.write(f"{{used.ru_utime + used.ru_stime}} {{used.ru_maxrss / 2**10}}")
"""


def write_large_study(folder: Path) -> int:
    """Write finished runs with files as long as those of UCF101 and 200 epochs; return their count.

    The report reads few probabilities and no logits: the former are those of a few videos, which
    take little of the disk, the latter null.
    """
    StudySpec(seeds=range(NUM_SEEDS), num_videos=VIDEOS_PER_TILE).write(folder / "runs")
    rng = np.random.default_rng(0)
    few_NK = rng.dirichlet(np.full(NUM_CLASSES, 0.05), 20).astype(np.float32)
    probability_NK = np.resize(few_NK, (NUM_VIDEOS, NUM_CLASSES))
    scores = pl.DataFrame({"probability_K": probability_NK}).cast(pl.List(pl.Float32))
    curves = make_curves(folder, rng)
    finished = sorted(folder.glob("runs/*/done.json"))
    for path in finished:
        run = RunFolder(path.parent)
        if run.predictions.exists():
            lengthen_predictions(run.predictions, scores)
        with_id = curves.with_columns(pl.lit(run.id).alias("run_id"))
        with_id.write_parquet(run.curves)
    return len(finished)


def make_curves(folder: Path, rng: np.random.Generator) -> pl.DataFrame:
    measures = []
    for epoch in range(NUM_EPOCHS):
        for name in CURVE_NAMES:
            value = float(rng.random())
            measures.append(Measure(name=name, value=value, unit="1", step=150 * epoch))
    write_measures(folder / "curves.parquet", "r", measures, schema=CURVES)
    return pl.read_parquet(folder / "curves.parquet")


def lengthen_predictions(path: Path, scores: pl.DataFrame) -> None:
    """Repeat the videos of a file; whole repetitions keep the accuracy that rows.parquet has."""
    videos = pl.read_parquet(path).drop("probability_K").with_columns(logit_K=None)
    repeated = pl.concat([videos] * (NUM_VIDEOS // VIDEOS_PER_TILE))
    tile = pl.int_range(pl.len()) // VIDEOS_PER_TILE
    repeated = repeated.with_columns(key=pl.format("{}_{}", "key", tile))
    long = repeated.hstack(scores.head(len(repeated))).select(list(PREDICTIONS))
    long.cast(pl.Schema(PREDICTIONS)).write_parquet(path)


def measure_report(folder: Path) -> tuple[float, float]:
    """Return (processor seconds, peak megabytes) of `kdbatch report`."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def test_the_time_and_memory_of_a_report_of_two_thousand_runs_are_bounded(
    tmp_path: Path,
) -> None:
    """In processor time, which hardly depends on other programs. A report that finds its figures on
    the disk draws none of them.
    """
    assert write_large_study(tmp_path) >= 2000
    unit = work()
    first, megabytes = measure_report(tmp_path)
    again = min(measure_report(tmp_path)[0] for _ in range(2))
    unit = max(unit, work())
    assert first < FIRST * unit, f"{first:.1f} s of a processor, {first / unit:.1f} units"
    assert again < AGAIN * unit, f"{again:.1f} s of a processor, {again / unit:.1f} units"
    assert megabytes < 600, f"{megabytes:.0f} MB"
