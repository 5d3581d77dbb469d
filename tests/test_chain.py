"""The whole chain from videos to report through the command line, killed in every stage."""

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
EPOCHS = 32  # enough to interrupt a stage in the middle of its training


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards and experiments. `uninterrupted` fills it with the finished study."""
    folder = tmp_path_factory.mktemp("study")
    micro.write_shards(folder)
    micro.write_jobs(folder, epochs=EPOCHS)
    return folder


@pytest.fixture(scope="session")
def uninterrupted(study: Path) -> dict[str, dict[str, object]]:
    micro.wait_for_success(micro.submit(study, study / "jobs" / "subset_size.yaml"))
    return micro.run_results(study)


@pytest.fixture
def unstarted(study: Path, tmp_path: Path) -> Path:
    """A copy of the shards and experiments, without runs."""
    for name in ("shards", "jobs"):
        shutil.copytree(study / name, tmp_path / name)
    return tmp_path


def test_a_study_that_is_killed_in_every_stage_ends_with_the_same_weights(
    unstarted: Path, uninterrupted: dict[str, dict[str, object]]
) -> None:
    experiment = micro.leave_out(
        unstarted / "jobs" / "subset_size.yaml",
        "cka_r21d_teacher",
        "cka_shufflenet_teacher",
    )
    for kind in ("pretrain", "finetune", "distill", "compare"):
        process = micro.submit(unstarted, experiment)
        try:
            micro.wait_for_run(unstarted, kind)
        finally:
            micro.kill(process)
        assert len(micro.run_results(unstarted)) < len(uninterrupted)
    micro.wait_for_success(micro.submit(unstarted, experiment))
    results = micro.run_results(unstarted)
    assert len(results) == len(uninterrupted) - 2
    assert results == {run_id: uninterrupted[run_id] for run_id in results}


def test_an_interrupted_study_saves_and_resumes_to_the_same_weights(
    unstarted: Path, uninterrupted: dict[str, dict[str, object]]
) -> None:
    process = micro.submit(unstarted, unstarted / "jobs" / "subset_size.yaml", jobs=1)
    try:
        row = micro.wait_for_run(unstarted, "pretrain")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    except BaseException:
        micro.kill(process)
        raise
    assert (
        process.returncode == 130 and "Stopped: " in output and "Resume: kdbatch submit" in output
    )
    folder = unstarted / "runs" / row.run_id
    assert (folder / "checkpoint.pt").exists()
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", "run", str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("done"), done
    assert load_json(folder / "done.json")["attempts"] == 2
    assert micro.run_results(unstarted)[row.run_id] == uninterrupted[row.run_id]


def test_a_finished_study_is_not_run_again_and_the_report_has_all_its_parts(
    study: Path, uninterrupted: dict[str, dict[str, object]]
) -> None:
    stamps = {path: path.stat().st_mtime_ns for path in (study / "runs").glob("r*/*")}
    output = micro.wait_for_success(micro.submit(study, study / "jobs" / "subset_size.yaml"))
    assert "9 runs: 9 done" in output
    assert {path: path.stat().st_mtime_ns for path in (study / "runs").glob("r*/*")} == stamps
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", "report"], cwd=study, capture_output=True, text=True
    )
    assert done.returncode == 0 and "report/index.html" in done.stdout.splitlines()[-1], done
    report = study / "report"
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
