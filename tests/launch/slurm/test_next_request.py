"""The next job of a run, after the last one ran out of memory or lost its node."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.launching import RESOURCES, assert_golden_script, config_in, ids, plan_of

from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.exclude_failed import exclude_failed
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.cluster_info import largest_memory_gb
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.config import Config, Site
from kdbatch.vocab.jobs.lost_nodes import load_lost_nodes, note_lost_node
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, save_status

PLAN = plan_of({"a": (), "b": ()})
A, B = ids(PLAN)["a"], ids(PLAN)["b"]


@pytest.fixture
def nodes(slurm: Path) -> Path:
    """Nodes with 40 and with 28 GB, by sinfo."""
    (slurm / "sinfo").write_text("#!/bin/bash\nprintf '41000+\\n28672\\n'\n")
    (slurm / "sinfo").chmod(0o755)
    return slurm


def run_out_of_memory(slurm: Path, config: Config, run_id: str) -> None:
    """The job of the run ends as its script notes it."""
    submission = last_submissions(submissions_dir(config.runs_dir))[run_id]
    (submission.folder / f"{submission.job_id}.ended").write_text("0 1 out of memory\n")
    (slurm / "queue").write_text("")


def requests(slurm: Path, number: str) -> set[str]:
    lines = (slurm / f"{number}.sbatch").read_text().splitlines()
    return {line for line in lines if "--mem=" in line or "--exclude=" in line}


def row_of(config: Config, run_id: str):
    return {row.run_id: row for row in load_run_rows(config.runs_dir, live=QueueAnswer())}[run_id]


def test_memory_grows_by_half_up_to_the_largest_node_and_then_the_run_has_failed(nodes, tmp_path):
    config = config_in(tmp_path)
    for number, memory_gb in (("41", 16), ("42", 24), ("44", 36), ("46", 40)):
        submit_arrays(PLAN, config=config)
        assert requests(nodes, number) == {f"#SBATCH --mem={memory_gb}GB"}
        run_out_of_memory(nodes, config, A)
        row = row_of(config, A)
        if memory_gb == 16:
            assert row.state == "stopped"
            assert row.reason.startswith("ran out of memory with 16 GB; its next job asks for 24")
    assert row.state == "failed"
    assert "with 40 GB, the most that it may ask for: raise max_memory_gb" in row.reason
    assert exclude_failed(PLAN, [row]).plan.waves[0].run_ids == (B,)


def test_a_run_keeps_its_memory_when_a_later_job_ends_by_another_cause(nodes, tmp_path):
    config = config_in(tmp_path)
    for _ in range(2):
        submit_arrays(plan_of({"a": ()}), config=config)
        run_out_of_memory(nodes, config, A)
    submit_arrays(plan_of({"a": ()}), config=config)
    (nodes / "queue").write_text("")
    submit_arrays(plan_of({"a": ()}), config=config)
    assert requests(nodes, "43") == requests(nodes, "44") == {"#SBATCH --mem=36GB"}


def test_a_largest_memory_of_the_study_stops_earlier_than_the_node(nodes, tmp_path):
    plan = plan_of({"a": ()}, resources=replace(RESOURCES, max_memory_gb=20))
    config = config_in(tmp_path)
    for _ in range(2):
        submit_arrays(plan, config=config)
        run_out_of_memory(nodes, config, A)
    assert requests(nodes, "42") == {"#SBATCH --mem=20GB"}
    assert row_of(config, A).state == "failed"


def test_a_run_whose_process_was_killed_for_memory_has_not_failed(nodes, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(plan_of({"a": ()}), config=config)
    job = last_submissions(submissions_dir(config.runs_dir))[A].job_id
    status = Status(state="failed", reason="RuntimeError: DataLoader worker is killed", job=job)
    save_status(RunFolder(config.runs_dir / A).status, status)
    run_out_of_memory(nodes, config, A)
    assert row_of(config, A).state == "stopped"


def test_a_run_avoids_the_node_that_it_lost_and_others_do_not(slurm, tmp_path):
    config = config_in(tmp_path, site=Site(sbatch={"exclude": "n9"}))
    (config.runs_dir / "slurm").mkdir(parents=True)
    note_lost_node(config.runs_dir, node="n2", run_id=A)
    assert [line.split(":")[1] for line in describe(PLAN, config)] == [
        " 1 job, each",
        " 1 job, each",
    ]
    submit_arrays(PLAN, config=config)
    assert requests(slurm, "41") >= {"#SBATCH --exclude=n9,n2"}
    assert requests(slurm, "42") >= {"#SBATCH --exclude=n9"}


def test_the_script_of_a_run_that_lost_a_node_and_ran_out_of_memory(nodes, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(plan_of({"a": ()}), config=config)
    run_out_of_memory(nodes, config, A)
    note_lost_node(config.runs_dir, node="n2", run_id=A)
    submit_arrays(plan_of({"a": ()}), config=config)
    folder = last_submissions(submissions_dir(config.runs_dir))[A].folder
    script = (nodes / "42.sbatch").read_text().replace(folder.name, "wave0-HASH")
    assert_golden_script("more_memory_other_node.sbatch", script, folder=tmp_path)


def describe(plan: Plan, config: Config) -> list[str]:
    lines = describe_launch(plan, config=config, queue="slurm")
    return [line.partition(" 1 GPU")[0] for line in lines]


def test_the_study_avoids_a_node_that_three_runs_lost_also_for_waiting_jobs(slurm, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(PLAN, config=config)
    for digit in "123":
        note_lost_node(config.runs_dir, node="n2", run_id=f"r{digit * 10}")
    submit_arrays(PLAN, config=config)
    told = (slurm / "scontrol.txt").read_text().splitlines()
    assert "update JobId=41_0,41_1 ExcNodeList=n2" in told


def test_other_lines_among_the_lost_nodes_are_left_out(tmp_path):
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "lost_nodes").write_text(f"n1 {A}\n--all {A}\nn2\n$(x) {A}\nn1,n2 {A}\n")
    assert load_lost_nodes(tmp_path) == {"n1": {A}}


def test_a_node_of_a_job_that_ended_with_it_is_noted_at_the_next_submit(slurm, tmp_path):
    config = config_in(tmp_path)
    submit_arrays(plan_of({"a": ()}), config=config)
    save_status(RunFolder(config.runs_dir / A).status, Status(state="running", job="41", node="n3"))
    (slurm / "queue").write_text("")
    (slurm / "sacct").write_text("#!/bin/bash\necho '41|NODE_FAIL'\n")
    (slurm / "sacct").chmod(0o755)
    submit_arrays(plan_of({"a": ()}), config=config)
    assert "#SBATCH --exclude=n3" in requests(slurm, "42")


def test_the_largest_memory_of_nodes_is_in_whole_gb_and_zero_without_an_answer(nodes):
    assert largest_memory_gb("gpu,old") == 40
    (nodes / "sinfo").write_text("#!/bin/bash\nexit 1\n")
    assert largest_memory_gb(None) == 0


def earlier_attempt(runs_dir: Path, **facts: Any) -> RunFolder:
    """A run whose process ended without a word, in job 41."""
    folder = RunFolder(runs_dir / A)
    save_status(folder.status, Status(state="running", job="41", **facts))
    return folder


def test_an_attempt_that_ran_out_of_memory_is_not_counted_as_a_crash(tmp_path):
    folder = earlier_attempt(tmp_path)
    (tmp_path / "slurm" / "wave0-1").mkdir(parents=True)
    (tmp_path / "slurm" / "wave0-1" / "41.ended").write_text("0 137\n1 1 out of memory\n")
    again = StatusReporter(folder, device="cpu", stop=StopSignal(), start=Start(job="42"))
    assert again.interruptions == {"memory": 1}


def test_a_worker_knows_the_node_that_was_lost_with_the_attempt_before_it(tmp_path):
    folder = earlier_attempt(tmp_path, node="n2")
    start = Start(job="41", restart=1, last_state="NODE_FAIL", node="n3")
    assert StatusReporter(folder, device="", stop=StopSignal(), start=start).lost_node == "n2"
