"""What a report of 2,000 runs takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from support.reports import StudySpec

from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures

pytestmark = pytest.mark.slow
NUM_VIDEOS, NUM_CLASSES, NUM_EPOCHS = 3783, 101, 200
NUM_SEEDS = 137  # of which each adds at least 14 runs of its own
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
subprocess.run([sys.executable, "-c", {CODE!r}], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.write(f"{{used.ru_utime + used.ru_stime}} {{used.ru_maxrss / 2**10}}")
"""


def write_study(folder: Path) -> int:
    """Finished runs with files of as many rows as those of UCF101 and 200 epochs. Returns how many
    there are.

    Probabilities, which no report reads, are those of a few videos again and again: compressed they
    take a tenth of the disk.
    """
    StudySpec(seeds=range(NUM_SEEDS), num_videos=100).write(folder / "runs")
    rng = np.random.default_rng(0)
    probability_NK = np.resize(
        rng.dirichlet(np.full(NUM_CLASSES, 0.05), 20).astype(np.float32), (NUM_VIDEOS, NUM_CLASSES)
    )
    wide = pl.DataFrame(
        {"probability_K": list(probability_NK), "logit_K": list(np.log(probability_NK + 1e-6))}
    )
    curve = [
        Measure(name=name, value=float(rng.random()), unit="1", step=150 * e)
        for e in range(NUM_EPOCHS)
        for name in CURVE_NAMES
    ]
    write_measures(folder / "curves.parquet", "r", curve, schema=CURVES)
    curves = pl.read_parquet(folder / "curves.parquet")
    finished = sorted(folder.glob("runs/*/done.json"))
    for done in finished:
        run = pl.lit(done.parent.name).alias("run_id")
        if (done.parent / "predictions.parquet").exists():
            seen = pl.read_parquet(done.parent / "predictions.parquet").drop(
                "probability_K", "logit_K"
            )
            tiles = pl.concat(
                [
                    seen.with_columns(key=pl.col("key") + f"_{i:02d}")
                    for i in range(-(-NUM_VIDEOS // 100))
                ]
            )
            kept = tiles.head(
                NUM_VIDEOS // 100 * 100
            )  # whole tiles: the accuracy is the one that rows.parquet says
            kept.hstack(wide.head(len(kept))).write_parquet(done.parent / "predictions.parquet")
        curves.with_columns(run).write_parquet(done.parent / "curves.parquet")
    return len(finished)


def report(folder: Path) -> tuple[float, float]:
    """(processor seconds, peak megabytes) of `kdbatch report`, the least of two."""
    found = []
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-c", MEASURE],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=300,
        )
        found.append([float(word) for word in said.stdout.split()])
    return min(seconds for seconds, _ in found), min(megabytes for _, megabytes in found)


def test_a_report_of_two_thousand_runs_takes_ten_seconds_of_two_processors_and_a_gigabyte(
    tmp_path: Path,
) -> None:
    """Processor time, as other programs must not decide."""
    assert write_study(tmp_path) >= 2000
    seconds, megabytes = report(tmp_path)
    assert seconds < 20, f"{seconds:.1f} s of a processor"
    assert megabytes < 1024, f"{megabytes:.0f} MB"
