"""`kdbatch report` as a user calls it, over studies of every kind, from Parquet files alone."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reports import find_run_id, mark_failed

from kdbatch.report.labels import NO_VALUE
from kdbatch.vocab.runs import RunFolder


def report(runs_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Called in a folder whose kdbatch.toml names the runs."""
    folder = runs_dir.parent
    (folder / "kdbatch.toml").write_text(f'[paths]\nruns = "{runs_dir.name}"\n')
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", "report", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def shown(runs_dir: Path) -> str:
    page = (runs_dir.parent / "report" / "index.html").read_text()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_corrupt_rows_file_is_named_and_left_out_and_the_rest_is_there(written: Callable) -> None:
    record, runs_dir = written(num_videos=100)
    rows = RunFolder(runs_dir / find_run_id(record, "T1", "10k")).rows
    rows.write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    done = report(runs_dir)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert f"{runs_dir.name}/{rows.parent.name}/rows.parquet: cannot be read" in done.stderr
    assert "15 of 15 runs are in the report" in done.stdout
    page = shown(runs_dir)
    assert "1 thing left out" in page, done.stderr
    assert f"{rows.parent.name}/rows.parquet: cannot be read" in page
    table = (runs_dir.parent / "report" / "tables" / "table1.md").read_text()
    first, second = (line for line in table.splitlines() if line.startswith(("| T1", "| T2")))
    assert re.search(rf"T1 ShuffleNet \| {NO_VALUE} \| \**55\.0", first) and re.search(
        r"60\.0.*64\.0", second
    )


def test_three_seeds_give_spreads_and_an_interval_for_maps_and_a_failed_one_is_counted(
    written: Callable,
) -> None:
    record, runs_dir = written(num_videos=100, seeds=(0, 1, 2))
    mark_failed(RunFolder(runs_dir / find_run_id(record, "T1", "10k", seed=2)), "node went away")
    done = report(runs_dir, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    found = {(n["role"], n["case"]["subset"]): n for n in told["tables"][0]["numbers"]}
    assert (found["T1", "10k"]["seeds_done"], found["T1", "10k"]["seeds_planned"]) == (2, 3)
    assert all(n["sd"] is not None for n in found.values())
    blocks = next(c for c in told["claims"] if c["claim"]["id"] == "blocks")
    assert (
        blocks["interval_95"] is not None
        and blocks["num_seeds"] == 3
        and blocks["verdict"] == "holds"
    )
    assert told["coverage"]["runs"]["failed"] == 1
    page = shown(runs_dir)
    assert re.search(r"50\.0 ± 0\.0 \(2 of 3\)", page) and "node went away" in page


@pytest.mark.parametrize("text", ["{", '{"experiment": 3}', "[]"])
def test_a_damaged_plan_is_one_line(written: Callable, text: str) -> None:
    _, runs_dir = written(num_videos=100)
    (runs_dir / "plans" / "subset_size.toy.json").write_text(text)
    done = report(runs_dir)
    assert (
        done.returncode == 2
        and len(done.stderr.strip().splitlines()) == 1
        and "subset_size.toy.json" in done.stderr
    )


def test_a_file_in_the_place_of_the_report_is_one_line(written: Callable) -> None:
    _, runs_dir = written(num_videos=100)
    (runs_dir.parent / "page.html").write_text("mine")
    done = report(runs_dir, "--to", "page.html")
    assert done.returncode == 2 and done.stderr.strip().endswith(
        "page.html: cannot be made a folder (File exists). Name another: --to FOLDER"
    )
    assert (
        len(done.stderr.strip().splitlines()) == 1
        and (runs_dir.parent / "page.html").read_text() == "mine"
    )
