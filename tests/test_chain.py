"""From videos to report through the command line, killed at every stage."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import micro_study as micro

from kdbatch.base.atomic_write import load_json

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chain")]
EPOCHS = 32  # long enough that a stage can be caught in the middle of its training


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, and the finished study that was never interrupted."""
    folder = tmp_path_factory.mktemp("world")
    micro.write_shards(folder)
    micro.write_jobs(folder, epochs=EPOCHS)
    return folder


@pytest.fixture(scope="session")
def unbroken(world: Path) -> dict[str, dict[str, object]]:
    micro.wait_for_success(micro.submit(world, world / "jobs" / "subset_size.yaml"))
    return micro.interruption_independent_results(world)


@pytest.fixture
def fresh(world: Path, tmp_path: Path) -> Path:
    """The same shards and jobs, no runs."""
    for name in ("shards", "jobs"):
        shutil.copytree(world / name, tmp_path / name)
    return tmp_path


def test_killed_in_every_stage_and_started_again_it_ends_with_the_same_weights(
    fresh: Path, unbroken: dict[str, dict[str, object]]
) -> None:
    experiment = micro.leave_out(
        fresh / "jobs" / "subset_size.yaml",
        "cka_r21d_teacher",
        "cka_shufflenet_teacher",
        "student_fewer_blocks",
    )
    for kind in ("pretrain", "finetune", "distill", "compare"):
        process = micro.submit(fresh, experiment)
        try:
            micro.wait_for_run(fresh, kind)
        finally:
            micro.kill(process)
        assert len(micro.interruption_independent_results(fresh)) < len(unbroken)
    micro.wait_for_success(micro.submit(fresh, experiment))
    found = micro.interruption_independent_results(fresh)
    assert len(found) == len(unbroken) - 2
    assert found == {run_id: unbroken[run_id] for run_id in found}


def test_asked_to_stop_it_saves_and_goes_on_from_there(
    fresh: Path, unbroken: dict[str, dict[str, object]]
) -> None:
    process = micro.submit(fresh, fresh / "jobs" / "subset_size.yaml", jobs=1)
    try:
        row = micro.wait_for_run(fresh, "pretrain")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    except BaseException:
        micro.kill(process)
        raise
    assert process.returncode == 130 and "the same command goes on" in said
    folder = fresh / "runs" / row.run_id
    assert (folder / "checkpoint.pt").exists()
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", "run", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith("done:"), done
    assert load_json(folder / "done.json")["attempts"] == 2
    assert micro.interruption_independent_results(fresh)[row.run_id] == unbroken[row.run_id]


def test_a_finished_study_is_not_run_again_and_the_report_has_all_its_parts(
    world: Path, unbroken: dict[str, dict[str, object]]
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (world / "runs").glob("r*/*")}
    said = micro.wait_for_success(micro.submit(world, world / "jobs" / "subset_size.yaml"))
    assert "12 runs: 12 done" in said
    assert {path: path.stat().st_mtime_ns for path in (world / "runs").glob("r*/*")} == stamps
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", "report"], cwd=world, capture_output=True, text=True
    )
    assert done.returncode == 0 and "report/index.html" in done.stdout.splitlines()[-1], done
    report = world / "report"
    for name in (
        "index.html",
        "report.json",
        "results.parquet",
        *(f"tables/table1.{kind}" for kind in ("md", "csv", "tex")),
    ):
        assert (report / name).stat().st_size > 0
    for map_id in ("cka_r21d_teacher", "cka_shufflenet_teacher", "cka_shufflenet_student"):
        assert (report / "figures" / f"{map_id}.png").stat().st_size > 1000
        assert (report / "figures" / f"{map_id}.pdf").stat().st_size > 1000
    assert re.search(r"T2 R\(2\+1\)D \| \**\d", (report / "tables" / "table1.md").read_text())
