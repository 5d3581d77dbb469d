"""`kdbatch report` as a user calls it, on finished, partial and damaged studies."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.report_runs import mark_failed
from support.reports import find_run_id
from support.studies import WriteStudy

from kdbatch.report.labels import NO_VALUE
from kdbatch.vocab.runs.folder import RunFolder


def report(runs_dir: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Call the command in a folder whose kdbatch.toml names the runs."""
    folder = runs_dir.parent
    (folder / "kdbatch.toml").write_text(f'[paths]\nruns = "{runs_dir.name}"\n')
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", "report", *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def page_text(runs_dir: Path) -> str:
    page = (runs_dir.parent / "report" / "index.html").read_text()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_corrupt_rows_file_is_named_and_left_out_and_the_rest_is_there(
    write_study: WriteStudy,
) -> None:
    record, runs_dir = write_study(num_videos=100)
    rows = RunFolder(runs_dir / find_run_id(record, "T1", "10k")).rows
    rows.write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    done = report(runs_dir)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    warning = f"{rows.parent.name}/rows.parquet: cannot be read"
    assert f"{runs_dir.name}/{warning}" in done.stderr
    assert "15 of 15 runs are in the report" in done.stdout
    page = page_text(runs_dir)
    assert "1 item left out" in page and warning in page
    table = (runs_dir.parent / "report" / "tables" / "table1.md").read_text()
    first, second = (line for line in table.splitlines() if line.startswith(("| T1", "| T2")))
    assert re.search(rf"T1 ShuffleNet \| {NO_VALUE} \| \**55\.0", first)
    assert re.search(r"60\.0.*64\.0", second)


def test_three_seeds_give_spreads_and_map_intervals_and_a_failed_seed_is_counted(
    write_study: WriteStudy,
) -> None:
    record, runs_dir = write_study(num_videos=100, seeds=(0, 1, 2))
    mark_failed(RunFolder(runs_dir / find_run_id(record, "T1", "10k", seed=2)), "node went away")
    done = report(runs_dir, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    numbers = {(n["role"], n["case"]["subset"]): n for n in printed["tables"][0]["numbers"]}
    partial = numbers["T1", "10k"]
    assert (partial["seeds_done"], partial["seeds_planned"]) == (2, 3)
    assert all(number["sd"] is not None for number in numbers.values())
    claims = {checked["claim"]["id"]: checked for checked in printed["claims"]}
    blocks = claims["blocks"]
    assert (blocks["verdict"], blocks["num_seeds"]) == ("holds", 3)
    assert blocks["interval_95"] is not None
    assert printed["coverage"]["runs"]["failed"] == 1
    page = page_text(runs_dir)
    assert re.search(r"50\.0 ± 0\.0 \(2 of 3\)", page) and "node went away" in page


@pytest.mark.parametrize("text", ["{", '{"experiment": 3}', "[]"])
def test_a_damaged_plan_is_an_error_of_one_line(write_study: WriteStudy, text: str) -> None:
    _, runs_dir = write_study(num_videos=100)
    (runs_dir / "plans" / "subset_size.toy.json").write_text(text)
    done = report(runs_dir)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "subset_size.toy.json" in line


def test_a_file_at_the_path_of_the_report_is_an_error_of_one_line(write_study: WriteStudy) -> None:
    _, runs_dir = write_study(num_videos=100)
    file = runs_dir.parent / "page.html"
    file.write_text("mine")
    done = report(runs_dir, "--to", "page.html")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.endswith(
        "page.html: cannot be made a folder (File exists). Name another: kdbatch report --to FOLDER"
    )
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    "variables", [{"HOME": "/proc"}, {"HOME": "/proc", "MPLCONFIGDIR": "/proc/none"}]
)
def test_a_home_that_cannot_be_written_to_is_no_warning(
    write_study: WriteStudy, tmp_path: Path, variables: dict[str, str]
) -> None:
    """matplotlib keeps its list of fonts there; a private folder takes its place."""
    _, runs_dir = write_study(num_videos=100)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    unset = dict.fromkeys(("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"), "")
    done = report(runs_dir, TMPDIR=str(temporary), **unset | variables)
    assert done.returncode == 0
    assert "matplotlib" not in done.stderr.lower() and "font" not in done.stderr.lower()
    (folder,) = temporary.glob("kdbatch-matplotlib-*")
    assert folder.stat().st_mode & 0o777 == 0o700 and list(folder.glob("fontlist-*.json"))
