"""Commands that look share one answer of SLURM, and know what an old one may lack."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import config_in, plan_of

from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache, QueueAnswer, shared_states
from kdbatch.launch.slurm.submissions import load_sbatches, save_sbatch
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config

PLAN = plan_of({"a": (), "b": ()})


@pytest.fixture
def config(slurm: Path, tmp_path: Path) -> Config:
    """Two runs were submitted as the array 41."""
    config = config_in(tmp_path)
    submit_arrays(PLAN, config=config)
    (slurm / "squeue.txt").unlink(missing_ok=True)
    return config


def terminal(config: Config) -> JobsCache:
    return JobsCache(config.runs_dir, warn=print)


def num_calls(slurm: Path, name: str = "squeue") -> int:
    path = slurm / f"{name}.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


def let_a_minute_pass(config: Config) -> None:
    for path in submissions_dir(config.runs_dir).glob(f"*-{os.getuid()}.json"):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 61))


def states(config: Config, jobs: JobsCache) -> set[str]:
    return {row.state for row in load_run_rows(config.runs_dir, live=jobs.live())}


def test_all_terminals_together_call_squeue_once_a_minute(slurm, config):
    terminals = [terminal(config) for _ in range(3)]
    assert [jobs.live() for jobs in terminals * 2] == [terminals[0].live()] * 6
    assert num_calls(slurm) == 1
    let_a_minute_pass(config)
    assert [jobs.live() for jobs in terminals] and num_calls(slurm) == 2


def test_a_controller_that_does_not_answer_is_asked_once_a_minute_by_all(slurm, config, capsys):
    (slurm / "squeue_fails").write_text("slurm_load_jobs error: Unable to contact\n")
    terminals = [terminal(config) for _ in range(3)]
    assert {jobs.live() for jobs in terminals * 2} == {None} and num_calls(slurm) == 1
    assert capsys.readouterr().out.count("SLURM does not answer") == len(terminals)


def test_a_job_that_was_submitted_after_the_answer_has_not_left_the_queue(slurm, config):
    live = terminal(config).live()
    submit_arrays(plan_of({"a": (), "b": (), "late": ()}), config=config)
    rows = {row.title: row.state for row in load_run_rows(config.runs_dir, live=live)}
    assert rows["late"] == "queued"


def test_a_look_after_a_cancel_asks_afresh(slurm, config):
    assert states(config, terminal(config)) == {"queued"}
    cancel_runs(config.runs_dir, None)
    assert states(config, terminal(config)) == {"planned"}


def test_a_job_that_a_site_does_not_list_yet_is_in_the_queue_and_not_submitted_twice(slurm, config):
    (slurm / "squeue_says").write_text("7|of others|RUNNING|None\n")  # from before the submit
    assert states(config, terminal(config)) == {"queued"}
    assert submit_arrays(PLAN, config=config) == {}
    assert {job.id for job in recover(submissions_dir(config.runs_dir))} == {"7", "41_0", "41_1"}


def test_an_array_that_was_not_released_is_released_though_squeue_does_not_list_it(slurm, config):
    ((folder, entry),) = load_sbatches(submissions_dir(config.runs_dir)).items()
    save_sbatch(folder, replace(entry, released=False))
    (slurm / "squeue_says").write_text("7|of others|RUNNING|None\n")
    (slurm / "scontrol.txt").unlink()
    recover(submissions_dir(config.runs_dir))
    assert (slurm / "scontrol.txt").read_text() == "release 41\n"


def test_all_terminals_together_call_sacct_once_a_minute(slurm, config):
    sacct = slurm / "sacct"
    sacct.write_text(f'#!/bin/bash\necho x >>"{slurm}/sacct.txt"\necho "41_0|FAILED"\n')
    sacct.chmod(0o755)
    for _ in range(3):
        assert shared_states(config.runs_dir, ["41_0", "41_1"]) == {"41_0": "FAILED"}
    assert num_calls(slurm, "sacct") == 1
    let_a_minute_pass(config)
    assert shared_states(config.runs_dir, ["41_0"]) == {"41_0": "FAILED"}
    assert num_calls(slurm, "sacct") == 1  # it knows all that is asked for


def test_a_study_without_jobs_does_not_call_squeue(slurm, tmp_path):
    assert terminal(config_in(tmp_path)).live() == QueueAnswer() and num_calls(slurm) == 0
