"""What a report of 2,000 runs takes, from two of some hundred: what each run adds, and what there is without any."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from report_world import World

from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures

pytestmark = pytest.mark.slow
NUM_VIDEOS, NUM_CLASSES, NUM_EPOCHS = 3783, 101, 200
CURVE_NAMES = ("loss", "accuracy", "lr", "hard", "soft", "teacher_weight_0", "teacher_weight_1", "clips_per_second")
CODE = "import sys; from kdbatch.cli import main; sys.argv[1:] = ['report']; main()"
MEASURE = f"""
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", {CODE!r}], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
sys.stdout.write(f"{{used.ru_utime + used.ru_stime}} {{used.ru_maxrss / 2**10}}")
"""


def write_study(folder: Path, num_seeds: int) -> int:
    """Finished runs with files as large as those of UCF101 and 200 epochs. Returns how many there are."""
    World(seeds=range(num_seeds), num_videos=100).write(folder / "runs")
    rng = np.random.default_rng(0)
    probability_NK = rng.dirichlet(np.full(NUM_CLASSES, 0.05), NUM_VIDEOS).astype(np.float32)
    wide = pl.DataFrame({"probability_K": list(probability_NK), "logit_K": list(np.log(probability_NK + 1e-6))})
    curve = [Measure(name=name, value=float(rng.random()), unit="1", step=150 * e) for e in range(NUM_EPOCHS) for name in CURVE_NAMES]
    write_measures(folder / "curves.parquet", "r", curve, schema=CURVES)
    curves = pl.read_parquet(folder / "curves.parquet")
    for done in (folder / "runs").glob("*/done.json"):
        run = pl.lit(done.parent.name).alias("run_id")
        if (done.parent / "predictions.parquet").exists():
            seen = pl.read_parquet(done.parent / "predictions.parquet").drop("probability_K", "logit_K")
            tiles = pl.concat([seen.with_columns(key=pl.col("key") + f"_{i:02d}") for i in range(-(-NUM_VIDEOS // 100))])
            kept = tiles.head(NUM_VIDEOS // 100 * 100)  # whole tiles: the accuracy is the one that rows.parquet says
            kept.hstack(wide.head(len(kept))).write_parquet(done.parent / "predictions.parquet")
        curves.with_columns(run).write_parquet(done.parent / "curves.parquet")
    return len(list((folder / "runs").glob("*/done.json")))


def report(folder: Path) -> tuple[float, float]:
    """(processor seconds, peak megabytes) of `kdbatch report`, the least of two."""
    found = []
    for _ in range(2):
        said = subprocess.run([sys.executable, "-c", MEASURE], cwd=folder, capture_output=True, text=True, check=True, timeout=300)
        found.append([float(word) for word in said.stdout.split()])
    return min(seconds for seconds, _ in found), min(megabytes for _, megabytes in found)


def test_a_run_costs_a_report_milliseconds_and_two_thousand_fit_into_a_gigabyte(tmp_path: Path) -> None:
    """Processor time, as other programs must not decide. Both studies are larger than what is read at once."""
    few, many = write_study(tmp_path / "few", 8), write_study(tmp_path / "many", 24)
    (seconds_few, megabytes_few), (seconds_many, megabytes_many) = report(tmp_path / "few"), report(tmp_path / "many")
    added = many - few
    assert added >= 200
    milliseconds = 1000 * (seconds_many - seconds_few) / added
    megabytes = megabytes_few + (2000 - few) * (megabytes_many - megabytes_few) / added
    assert milliseconds < 6, f"{milliseconds:.1f} ms of a processor for each run"
    assert megabytes < 1024, f"{megabytes:.0f} MB for 2,000 runs"
