"""Real workers of a real job script that have no space for their files: a limit of file size, and a
small disk.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import targets
from support.slurm import run_array_element
from support.small_disk import fill_disk, small_disk

from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.attempts.exit_rules import EXIT_DISK_FULL
from kdbatch.vocab.config import Config, Paths, Site
from kdbatch.vocab.runs.folder import RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture
def small_runs_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, which is the folder of the runs."""
    with small_disk(tmp_path / "runs", size="3m") as folder:
        yield folder


def start_first(slurm: Path, folder: Path, *setup: str, fill: Path | None = None) -> RunFolder:
    """Submit a study, and run the script of its first run, which must end for want of space and
    must not be queued again.
    """
    targets.write_world(folder)
    paths = Paths(shards=str(folder / "shards"), runs=str(folder / "runs"))
    plan = targets.plan_of(folder)
    submitted = submit_arrays(plan, config=Config(paths=paths, site=Site(setup=setup)))
    (run_id,) = (run_id for run_id, job_id in submitted.items() if job_id == "41_0")
    if fill:
        fill_disk(fill, leave=100_000)
    ended = run_array_element(slurm, "41_0")
    assert ended.returncode == EXIT_DISK_FULL, ended.stderr
    assert "requeue" not in (slurm / "scontrol.txt").read_text()
    return RunFolder(folder / "runs" / run_id)


def assert_told(folder: RunFolder, words: str) -> None:
    """Status and log have the reason, in one line each."""
    (row,) = (row for row in load_run_rows(folder.path.parent) if row.run_id == folder.id)
    assert row.state == "stopped" and words in row.reason and len(row.reason.splitlines()) == 1
    log = (folder.path / "log.txt").read_text()
    assert words in log and "Traceback" not in log


def test_a_limit_of_file_size_on_the_node_is_in_status_and_log(slurm: Path, tmp_path: Path) -> None:
    folder = start_first(slurm, tmp_path, "ulimit -f 60")  # 60 kB: less than the weights
    assert_told(folder, "File too large")


def test_a_full_disk_under_a_job_is_in_status_and_log(
    slurm: Path, tmp_path: Path, small_runs_disk: Path
) -> None:
    folder = start_first(slurm, tmp_path, fill=small_runs_disk)
    assert_told(folder, "No space left on device")
