"""Several users submit runs of one study: nobody takes the jobs of others for gone, or for own."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import config_in, ids, plan_of

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache
from kdbatch.launch.slurm.submissions import last_submissions, load_sbatches, save_sbatch
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config

PLAN = plan_of({"a": (), "b": ()})
FIRST_USER, SECOND_USER = os.getuid(), 4242


@pytest.fixture
def config(slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """One user has submitted two runs as the array 41, and from then on another one types."""
    monkeypatch.chdir(tmp_path)
    config = config_in(tmp_path)
    submit_arrays(PLAN, config=config)
    queue = slurm / "queue"
    queue.write_text("".join(f"{line}|uid={FIRST_USER}\n" for line in queue.read_text().split()))
    (slurm / "config").write_text("PrivateData             = none\n")
    monkeypatch.setattr(os, "getuid", lambda: SECOND_USER)
    return config


def states(config: Config) -> set[str]:
    live = JobsCache(config.runs_dir, warn=print).live()
    return {row.state for row in load_run_rows(config.runs_dir, live=live)}


def calls(slurm: Path, name: str) -> Sequence[str]:
    path = slurm / f"{name}.txt"
    return path.read_text().splitlines() if path.exists() else ()


def test_a_run_that_another_user_has_in_the_queue_is_queued_and_not_submitted_again(slurm, config):
    assert states(config) == {"queued"} and submit_arrays(PLAN, config=config) == {}
    users = {f"--user={FIRST_USER},{SECOND_USER}", f"--user={SECOND_USER},{FIRST_USER}"}
    assert {call.split()[0] for call in calls(slurm, "squeue")[1:]} <= users


def test_a_site_that_hides_jobs_of_others_does_not_make_them_gone(slurm, config):
    (slurm / "queue").write_text("")
    (slurm / "config").write_text("PrivateData             = jobs,usage\n")
    assert states(config) == {"queued"} and submit_arrays(PLAN, config=config) == {}


def test_a_run_whose_job_another_user_has_no_more_is_submitted_beside_his_files(slurm, config):
    (slurm / "queue").write_text("")
    assert states(config) == {"planned"}
    assert set(submit_arrays(PLAN, config=config)) == set(ids(PLAN).values())
    first, second = load_sbatches(submissions_dir(config.runs_dir))
    assert second == first.with_name(f"{first.name}-{SECOND_USER}")
    last = last_submissions(submissions_dir(config.runs_dir)).values()
    assert {submission.job_id for submission in last} == {"42_0", "42_1"}


def test_jobs_of_another_user_are_left_by_cancel_which_says_whose_they_are(slurm, config, capsys):
    assert set(cancel_runs(config.runs_dir, None).others) == set(ids(PLAN).values())
    assert dispatch(Commands(), ["cancel", "--all"]) == 1
    printed = capsys.readouterr()
    (line,) = (printed.out + printed.err).splitlines()
    assert "2 runs are left as they are: " in line and "can cancel" in line
    assert not calls(slurm, "scancel")


def test_an_array_that_another_user_has_begun_to_submit_is_left_to_that_user(slurm, config):
    ((folder, entry),) = load_sbatches(submissions_dir(config.runs_dir)).items()
    save_sbatch(folder, replace(entry, released=False))
    before = calls(slurm, "scontrol")
    assert submit_arrays(PLAN, config=config) == {} and calls(slurm, "scontrol") == before


def test_a_study_that_was_copied_is_of_the_user_who_has_its_files(slurm, config, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: FIRST_USER)
    ((folder, entry),) = load_sbatches(submissions_dir(config.runs_dir)).items()
    save_sbatch(folder, replace(entry, uid=SECOND_USER))
    assert [e.uid for e in load_sbatches(submissions_dir(config.runs_dir)).values()] == [FIRST_USER]
