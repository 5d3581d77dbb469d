"""The local queue on a disk that is full: a small file system of its own, with real workers."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import micro_study as micro
from support.small_disk import PAD, fill_disk, small_disk

from kdbatch.launch.run_status import load_run_rows


@pytest.fixture
def small_runs_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, which is the folder of the runs."""
    with small_disk(tmp_path / "runs", size="3m") as folder:
        yield folder


def submit(folder: Path, *flags: str, limit: str = "") -> tuple[int, str]:
    """Type the submit, in a shell that sets a `limit` first."""
    python = f"{sys.executable} -m kdbatch submit jobs/subset_size.yaml"
    line = f"{limit} exec {python} --profile test --local --jobs 2 {' '.join(flags)}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def states_in(folder: Path) -> set[str]:
    return {row.state for row in load_run_rows(folder / "runs")}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    micro.write_shards(tmp_path)
    micro.leave_out(micro.write_jobs(tmp_path, epochs=2))
    return tmp_path


@pytest.mark.slow
def test_a_full_disk_stops_the_queue_and_nothing_has_failed(
    small_runs_disk: Path, study: Path
) -> None:
    fill_disk(small_runs_disk, leave=200_000)  # enough for the run folders, not for weights
    code, output = submit(study)
    (line,) = [line for line in output.splitlines() if line.startswith("No space: ")]
    assert code == 1 and str(small_runs_disk) in line
    assert re.search(r"No space left on device \([\d.]+ (bytes|kB|MB) free\)", line)
    assert line.endswith(
        "Make room, then: kdbatch submit jobs/subset_size.yaml --profile test --local --jobs 2"
    )
    assert "Traceback" not in output and " failed" not in output
    assert "are done. Make room" in line  # no progress is said to be saved
    assert states_in(study) <= {"planned", "stopped", "done", "lost"}
    assert submit(study)[0] == 1  # still full
    (small_runs_disk / PAD).unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_runs_disk)], check=True)
    code, output = submit(study)
    assert code == 0 and states_in(study) == {"done"}, output


@pytest.mark.slow
def test_a_disk_without_space_for_the_run_folders_is_one_line(
    small_runs_disk: Path, study: Path
) -> None:
    fill_disk(small_runs_disk, leave=0)
    code, output = submit(study)
    assert code == 2 and len(output.splitlines()) == 1 and "No space left on device" in output
    assert "then repeat: kdbatch submit jobs/subset_size.yaml --profile test" in output


@pytest.mark.slow
def test_a_limit_of_file_size_stops_the_queue_like_a_full_disk(study: Path) -> None:
    code, output = submit(study, limit="ulimit -f 60;")  # 60 kB: less than the weights
    (line,) = [line for line in output.splitlines() if line.startswith("No space: ")]
    assert code == 1 and "File too large" in line and " failed" not in output
    rows = load_run_rows(study / "runs")
    stopped = [row for row in rows if row.state == "stopped"]
    assert stopped and all("File too large" in row.reason for row in stopped)
    assert "File too large" in (study / "runs" / stopped[0].run_id / "log.txt").read_text()
