"""`resume`, `cancel FILE` and the last lines of `submit`: whole commands, and sums of the plan."""

import io
import json
import os
import shlex
import shutil
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.vocab.plans.records import find_records
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, save_status

FILE = "jobs/my study.yaml"  # has to be quoted in a command line


def kdbatch(*words: str, code: int = 0) -> str:
    """Return what the command prints. It runs in this process, for new ones would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        exit_code = dispatch(Commands(), list(words))
    printed = out.getvalue() + err.getvalue()
    assert exit_code == code, printed
    return printed


def type_line(output: str, beginning: str, *, code: int = 0) -> str:
    """Type the command that a line of the output ends with."""
    (line,) = [line for line in output.splitlines() if line.startswith(beginning)]
    _, *words = shlex.split("kdbatch" + line.split("kdbatch", 1)[1])
    return kdbatch(*words, code=code)


@pytest.fixture
def study(sharded, in_tmp: Path) -> Path:
    """A study with the shards' indexes and one experiment, in the current folder."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    shutil.copytree(JOBS, "jobs")
    text = (JOBS / "subset_size.yaml").read_text()
    Path(FILE).write_text(text.replace("name: subset_size", "name: my study", 1))
    return in_tmp


def fail(run_id: str) -> None:
    status = Status(state="failed", reason="no luck", heartbeat_at=time.time())
    save_status(RunFolder(Path("runs") / run_id).status, status)


def finish(run_id: str) -> None:
    (Path("runs") / run_id / "done.json").write_text("{}")


def runs_of(kind: str) -> list[str]:
    return [
        run.id for record in find_records(Path("runs")) for run in record.runs if run.kind == kind
    ]


def test_resume_submits_every_unfinished_plan_as_it_was_submitted(slurm, study):
    kdbatch("submit", FILE, "--profile=toy")
    kdbatch("submit", "jobs/subset_size.yaml", "--profile=paper")
    num_jobs = len(queued_jobs())
    assert "Resume: kdbatch resume" in kdbatch("cancel", "--all") and queued_jobs() == ()
    output = kdbatch("resume")
    assert f"Resume: kdbatch submit '{FILE}' --profile toy\n" in output
    assert "Resume: kdbatch submit jobs/subset_size.yaml --profile paper\n" in output
    assert len(queued_jobs()) == num_jobs


def test_resume_of_a_file_takes_every_profile_of_it_or_the_one_that_is_named(slurm, study):
    for profile in ("toy", "micro"):
        kdbatch("submit", FILE, f"--profile={profile}")
    kdbatch("submit", "jobs/subset_size.yaml", "--profile=micro")
    kdbatch("cancel", "--all")
    output = kdbatch("resume", f"./{FILE}", "--dry-run")
    assert [line for line in output.splitlines() if line.startswith("Resume")] == [
        f"Resume: kdbatch submit '{FILE}' --profile micro",
        f"Resume: kdbatch submit '{FILE}' --profile toy",
    ]
    assert output.count("Resume:") == 2 and queued_jobs() == ()
    assert kdbatch("resume", "--profile", "toy", "--dry-run").count("Resume:") == 1
    known = f"jobs/subset_size.yaml (micro), {FILE} (micro), {FILE} (toy)"
    message = kdbatch("resume", "jobs/other.yaml", code=2)
    assert "nothing of jobs/other.yaml was submitted" in message
    assert all(part in message for part in known.split(", "))


def test_resume_finds_the_files_from_every_folder_of_the_study(slurm, study, monkeypatch):
    Path("kdbatch.toml").write_text("")
    monkeypatch.chdir("jobs")
    kdbatch("submit", Path(FILE).name, "--profile=toy")
    kdbatch("cancel", Path(FILE).name)
    assert queued_jobs() == ()
    monkeypatch.chdir("profiles")
    output = kdbatch("resume", f"../{Path(FILE).name}")
    assert f"Resume: kdbatch submit '../../{FILE}' --profile toy\n" in output
    assert len(queued_jobs()) == 23


def test_plans_with_equal_flags_are_one_command(slurm, study):
    kdbatch("submit", FILE, "jobs/task_complexity.yaml", "--profile=micro")
    kdbatch("submit", "jobs/subset_size.yaml", "--profile=micro", "--jobs=3")
    output = kdbatch("resume", "--dry-run")
    assert f"kdbatch submit '{FILE}' jobs/task_complexity.yaml --profile micro\n" in output
    assert "kdbatch submit jobs/subset_size.yaml --profile micro --jobs 3\n" in output


def test_the_command_that_a_cancel_prints_resumes_what_it_cancelled(slurm, study):
    for profile in ("toy", "micro"):
        kdbatch("submit", FILE, f"--profile={profile}")
    num_jobs = len(queued_jobs())
    output = kdbatch("cancel", FILE, "--profile=micro")
    assert 0 < len(queued_jobs()) < num_jobs
    assert f"kdbatch resume '{FILE}' --profile micro" in output
    type_line(output, f"{num_jobs - len(queued_jobs())} jobs cancelled")
    assert len(queued_jobs()) == num_jobs


def test_cancelling_a_file_without_a_profile_cancels_every_profile_of_it(slurm, study):
    for profile in ("toy", "micro"):
        kdbatch("submit", FILE, f"--profile={profile}")
    Path(FILE).unlink()  # what was submitted is in the plans
    kdbatch("cancel", FILE)
    assert queued_jobs() == ()


def test_a_local_plan_is_not_handed_to_slurm_nor_the_other_way_round(study, monkeypatch, slurm):
    kdbatch("submit", FILE, "--profile=toy")
    path = os_path_without(slurm)
    monkeypatch.setenv("PATH", path)
    assert "there is no sbatch here" in kdbatch("resume", code=2)
    (record_path,) = Path("runs/plans").glob("*.json")
    raw = load_json(record_path)
    write_json(record_path, raw | {"submitted": {"file": FILE, "local": True, "jobs": 0}})
    monkeypatch.setenv("PATH", str(slurm), prepend=":")
    output = kdbatch("resume", "--dry-run")
    assert f"kdbatch submit '{FILE}' --profile toy --local" in output and "sbatch" not in output


def os_path_without(folder: Path) -> str:
    return os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != str(folder))


def test_a_plan_of_an_older_version_names_the_command_that_it_lacks(slurm, study):
    kdbatch("submit", "jobs/subset_size.yaml", "--profile=micro")
    (path,) = Path("runs/plans").glob("*.json")
    raw = load_json(path)
    path.write_text(json.dumps({k: v for k, v in raw.items() if k not in ("runs", "submitted")}))
    output = kdbatch("resume", code=1)
    assert "is of an older version" in output
    assert "Submit it once more: kdbatch submit jobs/subset_size.yaml --profile micro " in output
    gone = raw["runs"][0]["id"]  # a pretraining, which such a plan does not name
    shutil.rmtree(Path("runs") / gone)
    assert f"{gone}\tmissing" in kdbatch("status")
    kdbatch("cancel", "jobs/subset_size.yaml")
    assert not {job.id for job in queued_jobs()} & {
        row.job for row in load_run_rows(Path("runs")) if row.kind == "finetune"
    }


def test_the_sum_of_a_submit_is_over_the_whole_plan_and_names_what_is_left_out(slurm, study):
    kdbatch("submit", FILE, "--profile=toy")
    (slurm / "queue").write_text("")
    first, *others = runs_of("pretrain")
    fail(first)
    for run_id in others:
        finish(run_id)
    output = kdbatch("submit", FILE, "--profile=toy")
    assert f"left out: {first} " in output and "failed before: no luck" in output
    assert f"waits for {first}" in output
    (line,) = [line for line in output.splitlines() if line.startswith("23 runs: ")]
    counts = {words: int(num) for num, _, words in (p.partition(" ") for p in line[9:].split(", "))}
    assert counts["left out (failed before)"] == 1 and counts["done"] == 3
    assert sum(counts.values()) == 23 and "kdbatch report" not in output
    type_line(output, "Try failed runs again: ")
    assert len(queued_jobs()) == 20


def test_a_run_whose_folder_was_deleted_is_missing_and_is_started_again(slurm, study):
    kdbatch("submit", FILE, "--profile=toy")
    (slurm / "queue").write_text("")
    all_runs = [run.id for run in find_records(Path("runs"))[0].runs]
    for run_id in all_runs:
        finish(run_id)
    assert "Next: kdbatch report" in kdbatch("status")
    gone = runs_of("pretrain")[0]
    shutil.rmtree(Path("runs") / gone)
    output = kdbatch("status")
    assert f"{gone}\tmissing" in output and "kdbatch report" not in output
    rows = {row["run_id"]: row for row in json.loads(kdbatch("status", "--json"))}
    assert rows[gone]["state"] == "missing" and rows[gone]["title"].startswith("pretrain")
    type_line(output, "No process works on 1 missing. Resume: ")
    assert len(queued_jobs()) == 1


def test_resume_without_anything_open_says_so(slurm, study):
    assert "nothing was submitted yet" in kdbatch("resume", code=2)
    kdbatch("submit", FILE, "--profile=toy")
    for run in find_records(Path("runs"))[0].runs:
        finish(run.id)
    assert "every submitted run is done. Next: kdbatch report" in kdbatch("resume")
