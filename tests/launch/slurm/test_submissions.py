"""A submit may be killed, or SLURM may not answer, at any moment: no run is lost and none is
submitted twice.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.launching import LAUNCH_SHELL, config_in, ids, plan_of

from kdbatch.base.errors import UserError
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.commands import queued_jobs, run_command
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.submissions import last_submissions, load_sbatches, save_sbatch
from kdbatch.launch.slurm.submit import submit_arrays

SHAPE = {"a": (), "b": (), "x": ("a", "b")}


def submit_in_another_shell(folder: Path) -> int:
    shell = [sys.executable, LAUNCH_SHELL, "submit", str(folder), json.dumps(SHAPE)]
    return subprocess.run(shell, capture_output=True, text=True, check=False).returncode


def queue_of(slurm: Path) -> dict[str, str]:
    """The queued jobs, with the reason why each does not run."""
    return {job.id: job.reason for job in queued_jobs()}


def test_an_array_is_held_until_its_files_have_names_and_the_journal_has_its_ids(slurm, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(plan_of(SHAPE), config=config)
    assert "#SBATCH --hold" in (slurm / "41.sbatch").read_text()
    assert (slurm / "scontrol.txt").read_text() == "release 41\nrelease 42\n"
    assert queue_of(slurm) == {"41_0": "None", "41_1": "None", "42": "None"}
    assert all(
        s.released and s.number for s in load_sbatches(submissions_dir(config.runs_dir)).values()
    )


def test_a_submit_that_is_killed_while_sbatch_answers_neither_loses_nor_repeats_a_run(
    slurm, tmp_path
):
    (slurm / "kill_submit").touch()
    assert submit_in_another_shell(tmp_path) == -signal.SIGKILL
    assert queue_of(slurm) == {"41_0": "JobHeldUser", "41_1": "JobHeldUser"}
    (slurm / "kill_submit").unlink()
    submitted = submit_arrays(plan_of(SHAPE), config=config_in(tmp_path))
    assert (slurm / "scancel.txt").read_text() == "41\n"
    assert sorted(submitted.values()) == ["42_0", "42_1", "43"] and queue_of(slurm) == {
        "42_0": "None",
        "42_1": "None",
        "43": "None",
    }
    assert not [
        path
        for path in submissions_dir(config_in(tmp_path).runs_dir).rglob("*.pkl")
        if not path.name.endswith("_submitted.pkl")
    ]


def test_an_array_in_the_journal_that_was_not_released_is_released(slurm, tmp_path):
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    submit_arrays(plan, config=config)
    home = submissions_dir(config.runs_dir)
    folder, entry = next(iter(load_sbatches(home).items()))
    save_sbatch(
        folder, type(entry)(name=entry.name, keys=entry.keys, asked_at=entry.asked_at, number="41")
    )
    (slurm / "scontrol.txt").unlink()
    assert submit_arrays(plan, config=config) == {}
    assert (slurm / "scontrol.txt").read_text() == "release 41\n"


def test_a_submit_that_is_killed_before_its_elements_have_dependencies_is_completed(
    slurm, tmp_path
):
    shape = {"a": (), "b": (), "w": (), "x": ("a",), "y": ("a", "b"), "z": ("b",)}
    shell = [sys.executable, LAUNCH_SHELL, "submit", str(tmp_path), json.dumps(shape)]
    (slurm / "kill_update").touch()
    assert subprocess.run(shell, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert {reason for job_id, reason in queue_of(slurm).items() if job_id.startswith("42")} == {
        "JobHeldUser"
    }
    (slurm / "kill_update").unlink()
    subprocess.run(
        ["sed", "-i", "/^42_2/d", str(slurm / "queue")], check=True
    )  # somebody has cancelled one
    (slurm / "scontrol.txt").unlink()
    again = submit_arrays(plan_of(shape), config=config_in(tmp_path))
    first, second, last = (slurm / "scontrol.txt").read_text().splitlines()[:3]
    assert (first, second) == (
        "update JobId=42_0 Dependency=afterok:41_0",
        "update JobId=42_1 Dependency=afterok:41_0:41_1",
    )
    assert last == "release 42" and list(again.values()) == ["43"], (
        "a cancelled run is submitted again"
    )
    assert set(queue_of(slurm).values()) == {"None"}


def test_held_jobs_of_others_and_of_other_studies_are_not_cancelled(slurm, tmp_path):
    (slurm / "kill_submit").touch()
    submit_in_another_shell(tmp_path / "other")
    (slurm / "kill_submit").unlink()
    with (slurm / "queue").open("a") as queue:
        queue.write("7|kdbatch-wave0-mine|PENDING|JobHeldUser\n")
    submit_in_another_shell(tmp_path)
    recover(submissions_dir(config_in(tmp_path).runs_dir))
    assert {"7", "41_0", "41_1"} <= set(queue_of(slurm)) and not (slurm / "scancel.txt").exists()


def test_a_lost_job_that_an_old_answer_of_squeue_lists_is_cancelled_once(slurm, tmp_path):
    (slurm / "kill_submit").touch()
    submit_in_another_shell(tmp_path)
    (slurm / "kill_submit").unlink()
    (slurm / "squeue_says").write_text((slurm / "queue").read_text())  # before it is cancelled
    (slurm / "max_submit").write_text("0")
    with pytest.raises(UserError, match="AssocMaxSubmitJobLimit"):  # in the whole, and in parts
        submit_arrays(plan_of(dict.fromkeys("abcdefgh", ())), config=config_in(tmp_path))
    assert len((slurm / "squeue.txt").read_text().splitlines()) >= 4
    assert (slurm / "scancel.txt").read_text() == "41\n"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_busy_controller_is_called_again_and_a_job_that_it_took_the_first_time_is_cancelled(
    slurm, tmp_path, accepted
):
    (slurm / "refuse").write_text(
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    )
    (slurm / "refuse_once").touch()
    if accepted:
        (slurm / "accept_anyway").touch()
    submitted = submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert list(submitted.values()) == ["42" if accepted else "41"] == list(queue_of(slurm))


def test_a_busy_controller_is_not_called_for_ever(slurm, tmp_path):
    (slurm / "refuse").write_text(
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
    )
    with pytest.raises(UserError, match=r"sbatch refused wave0-\w+: .*temporarily unable"):
        submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    assert last_submissions(submissions_dir(config_in(tmp_path).runs_dir)) == {}


def test_a_refusal_is_not_repeated(slurm, tmp_path):
    (slurm / "refuse").write_text("sbatch: error: Invalid account\n")
    (slurm / "refuse_once").touch()
    with pytest.raises(UserError, match="Invalid account"):
        submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))


def test_squeue_is_called_again_when_it_is_busy(slurm):
    (slurm / "squeue_fails").write_text(
        "slurm_load_jobs error: Socket timed out on send/recv operation\n"
    )
    with pytest.raises(UserError, match=r"squeue: .*Socket timed out.* scontrol ping"):
        queued_jobs()
    assert len((slurm / "squeue.txt").read_text().splitlines()) == 1 + len(commands.PAUSES)
    (slurm / "squeue_fails").write_text("squeue: error: Invalid user: nobody\n")
    with pytest.raises(UserError, match="Invalid user: nobody. Try it: squeue --me"):
        queued_jobs()
    assert len((slurm / "squeue.txt").read_text().splitlines()) == 2 + len(commands.PAUSES)


def test_a_command_gets_no_variable_of_a_surrounding_job_or_of_a_users_profile(slurm, monkeypatch):
    names = ("SLURM_JOB_ID", "SQUEUE_STATES", "SACCT_FORMAT", "SCANCEL_STATE", "SINFO_PARTITION")
    for name in names:
        monkeypatch.setenv(name, "x")
    seen = {line.partition("=")[0] for line in run_command("env").splitlines()}
    assert "PATH" in seen and not seen & set(names)


def test_jobs_in_hidden_partitions_are_listed(slurm):
    queued_jobs()
    assert "--all" in (slurm / "squeue.txt").read_text().split()


def test_runs_whose_entry_is_damaged_are_not_submitted_again(slurm, tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (entry,) = load_sbatches(submissions_dir(config.runs_dir))
    (entry / "sbatch.json").write_text("{")
    with pytest.raises(UserError, match=r"not known. Cancel those .*, then: rm .*sbatch\.json"):
        submit_arrays(plan, config=config)
    (entry / "sbatch.json").unlink()
    (slurm / "queue").write_text("")
    assert submit_arrays(plan, config=config) == {ids(plan)["a"]: "42"}
