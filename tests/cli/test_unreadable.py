"""A folder that cannot be read is told, not taken for finished or missing, and stops no others."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.launching import submitted
from support.permissions import kdbatch_obeying_modes

from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.saved_plans import SubmitRequest
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.records import PlanRecord, find_records
from kdbatch.vocab.runs.folder import RunFolder

FILE = Path("jobs/subset_size.yaml")
RUNS = Path("runs")


def closed(folder: Path) -> None:
    folder.chmod(0)


def folder_for_a_file(folder: Path) -> None:
    (folder / "run.json").unlink()
    (folder / "run.json").mkdir()


def closed_file(folder: Path) -> None:
    (folder / "done.json").unlink()
    (folder / "run.json").chmod(0)


def loop(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.name)


def link_to_nowhere(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to("/nowhere/of/this/machine")


def result_elsewhere(folder: Path) -> None:
    (folder / "done.json").unlink()
    (folder / "done.json").symlink_to("/nowhere/done.json")


@pytest.fixture
def finished(sharded, in_tmp: Path) -> PlanRecord:
    """A study whose runs were submitted to the local queue and are all done."""
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    shutil.copytree(JOBS, "jobs")
    Path("kdbatch.toml").touch()
    plan = make_plan([FILE], profile="toy", config=config)
    request = SubmitRequest(files=(FILE,), profile="toy", local=True, jobs=1)
    write_runs(request.note_in(plan, local=True, study=Path()), config=config)
    for item in plan.runs:
        (RUNS / item.run.id / "done.json").write_text("{}")
    (record,) = find_records(RUNS)
    return record


def type_all(*lines: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """The answers to command lines; none is a trace, or more than a line of error a run."""
    answers = {line: kdbatch_obeying_modes(*line.split()) for line in lines}
    for line, answer in answers.items():
        assert "Traceback" not in answer.stderr, (line, answer.stderr)
    return answers


@pytest.mark.parametrize("damage", [closed, closed_file, loop, link_to_nowhere, result_elsewhere])
def test_a_run_that_cannot_be_read_has_a_row_that_says_so_and_is_not_started_again(
    finished: PlanRecord, damage: Callable[[Path], None]
) -> None:
    run = finished.runs[0]
    damage(RUNS / run.id)
    try:
        answers = type_all("status", "submit jobs/subset_size.yaml -p toy --local --retry-failed")
    finally:
        if not (RUNS / run.id).is_symlink():
            (RUNS / run.id).chmod(0o755)
    status, submit = answers.values()
    (row,) = [line for line in status.stdout.splitlines() if line.startswith(run.id)]
    assert row.split("\t")[1] == "unreadable" and run.title in row
    assert (
        f"{len(finished.runs)} runs: {len(finished.runs) - 1} done, 1 unreadable" in status.stdout
    )
    assert "kdbatch report" not in status.stdout and "1 run cannot be read" in status.stdout
    assert submit.returncode == 1 and f"left out: {run.id}" in submit.stdout
    assert not (RUNS / run.id / "status.json").exists()


@pytest.mark.slow
def test_every_command_tells_of_an_unreadable_run_and_serves_the_others(
    finished: PlanRecord,
) -> None:
    run, other = finished.runs[0], finished.runs[-1]
    (RUNS / run.id).chmod(0)
    try:
        answers = type_all(
            "status --json",
            "plan jobs/subset_size.yaml -p toy --json",
            "submit jobs/subset_size.yaml -p toy --local --dry-run",
            "resume",
            "report",
            f"logs {run.id}",
            f"logs {other.id}",
            f"export {run.id}",
            f"cancel {run.id}",
            "sync tensorboard log",
            "doctor",
        )
    finally:
        (RUNS / run.id).chmod(0o755)
    status, plan, dry, resume, report, logs, others_logs, export, cancel, sync, _ = answers.values()
    states = {row["run_id"]: row["state"] for row in json.loads(status.stdout)}
    assert states[run.id] == "unreadable" and states[other.id] == "done"
    planned = {row["id"]: row["state"] for row in json.loads(plan.stdout)["runs"]}
    assert planned == states
    assert "1 left out (cannot be read)" not in dry.stdout and f"left out: {run.id}" in dry.stdout
    assert "none to start" in dry.stdout
    assert resume.returncode == 1 and f"left out: {run.id}" in resume.stdout
    assert "Nothing to resume" not in resume.stdout
    assert report.returncode == 0
    assert f"{run.id} is not in the report: runs/{run.id}" in report.stderr
    shown = json.loads(Path("report/report.json").read_text())
    assert shown["coverage"]["runs"]["unreadable"] == 1
    assert logs.returncode == 2 and "Permission denied" in logs.stderr
    assert others_logs.returncode == 0
    assert export.returncode == 2 and "Permission denied" in export.stderr
    assert cancel.returncode == 1 and "not known" in cancel.stderr
    assert sync.returncode == 0 and "Permission denied" in sync.stderr


@pytest.mark.parametrize(
    ("place", "how"),
    [
        ("runs", "closed"),
        ("runs", "nowhere"),
        ("runs/plans", "closed"),
        ("runs/plans", "loop"),
        ("runs/queues", "closed"),
        ("shards", "closed"),
        ("shards", "nowhere"),
    ],
)
def test_a_folder_of_the_study_that_cannot_be_read_is_not_an_empty_one(
    finished: PlanRecord, place: str, how: str
) -> None:
    folder = Path(place)
    folder.mkdir(exist_ok=True)
    kept = folder.rename("kept")
    if how == "closed":
        kept.rename(folder).chmod(0)
    else:
        folder.symlink_to(folder.name if how == "loop" else "/nowhere/of/this/machine")
    line = "plan jobs/subset_size.yaml -p toy" if place == "shards" else "status"
    try:
        (answer,) = type_all(line).values()
    finally:
        if how == "closed":
            folder.chmod(0o755)
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1 and f"{place}" in answer.stderr
    assert "kdbatch report" not in answer.stdout and "kdbatch shard" not in answer.stderr


def test_a_journal_that_cannot_be_read_keeps_runs_from_being_submitted_twice(
    slurm: Path, finished: PlanRecord
) -> None:
    run = finished.runs[0]
    (RunFolder(RUNS / run.id).done).unlink()
    submitted(Config(), run.id)
    journal = RUNS / "slurm" / "41"
    journal.chmod(0)
    try:
        (answer,) = type_all("submit jobs/subset_size.yaml -p toy").values()
    finally:
        journal.chmod(0o755)
    assert answer.returncode == 2 and "runs/slurm/41" in answer.stderr
    assert queued_jobs() == ()
