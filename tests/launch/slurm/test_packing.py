"""Several runs in one job: as steps of srun, or started by one process on the node."""

import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import RESOURCES, act, config_in, events, ids, plan_of
from support.slurm import run_array_element, run_queued_elements

from kdbatch.base.errors import UserError
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.arrays import arrays_of, dependency
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.next_request import next_requests
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.slurm.submissions import last_submissions, live_jobs
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config, Site, load_config
from kdbatch.vocab.plans.plan import Plan

PAIRED = replace(RESOURCES, runs_per_job=2)
FIVE = dict.fromkeys("abcde", ())
GUIDE = Path(__file__).parents[3] / "docs" / "GUIDE.md"


def states(plan: Plan, config: Config, live: dict[str, str]) -> dict[str, str]:
    rows = load_run_rows(config.runs_dir, live=QueueAnswer(holds=live))
    return {row.title: row.state for row in rows}


def test_the_runs_that_are_left_over_share_a_smaller_job(slurm, tmp_path):
    plan = plan_of(FIVE, resources=PAIRED)
    config = config_in(tmp_path, site=Site(max_array_size=1))
    arrays = arrays_of(plan, config=config, live={})
    assert [(len(a.run_ids), a.resources.runs_per_job) for a in arrays] == [(2, 2), (2, 2), (1, 1)]
    assert set(submit_arrays(plan, config=config).values()) == {"41", "42", "43"}


@pytest.mark.parametrize(
    ("resources", "shared", "expected"),
    [
        (PAIRED, (), ("afterany:41_0:41_1", "afterany:41_1")),
        (RESOURCES, ("41_0", "41_1"), ("afterany:41_0", "afterany:41_1")),
        (RESOURCES, ("41_0",), ("afterany:41_0", "afterok:41_1")),
    ],
)
def test_a_shared_job_is_waited_for_until_it_ends_however_a_sibling_ended(
    resources, shared, expected
):
    shape = {"a": (), "b": (), "w": ("a",), "x": ("b",), "y": ("b",), "z": ("b",)}
    plan = plan_of(shape, resources=resources)
    _, children = arrays_of(plan, config=config_in(Path("nowhere")), live={})
    jobs = {ids(plan)["a"]: "41_0", ids(plan)["b"]: "41_1"}
    assert tuple(dict.fromkeys(dependency(children, jobs, shared=shared))) == expected


@pytest.mark.parametrize("packing", ["srun", "queue"])
def test_each_run_of_a_job_has_its_own_fate(
    packing, slurm, stand_in_package, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    plan = plan_of(
        {"done": (), "fails": (), "stops": ()}, resources=replace(RESOURCES, runs_per_job=3)
    )
    config = config_in(tmp_path, site=Site(packing=packing))
    act(plan, config, "fails", exit=1)
    act(plan, config, "stops", stop_times=1)
    submit_arrays(plan, config=config)
    job = last_submissions(submissions_dir(config.runs_dir))
    first, second = (run_array_element(slurm, "41") for _ in range(2))
    assert (first.returncode, second.returncode) == (85, 0), (first, second)
    assert (slurm / "scontrol.txt").read_text().count("requeue 41\n") == 1
    assert {s.job_id for s in job.values()} == {"41"}
    assert states(plan, config, {}) == {"done": "done", "fails": "failed", "stops": "done"}
    begun = [event for event in events(plan, config) if event.startswith("begin")]
    assert sorted(begun) == ["begin done", "begin fails", "begin stops", "begin stops"]
    if packing == "queue":  # SLURM gives a step its GPU
        lines = (config.runs_dir / "events.txt").read_text().splitlines()
        assert {line.split()[-1] for line in lines if line.startswith("begin")} == {"4", "5", "6"}


def test_a_run_that_failed_in_a_job_that_goes_on_is_submitted_again_alone(slurm, tmp_path):
    plan, config = plan_of({"a": (), "b": ()}, resources=PAIRED), config_in(tmp_path)
    submit_arrays(plan, config=config)
    journal = submissions_dir(config.runs_dir)
    last_submissions(journal)[ids(plan)["a"]].over.touch()
    assert live_jobs(journal, ids(plan).values(), queue=queued_jobs()) == {ids(plan)["b"]: "41"}
    assert submit_arrays(plan, config=config) == {ids(plan)["a"]: "42"}


def test_cancelling_a_run_ends_its_step_and_cancelling_all_ends_the_job(slurm, tmp_path):
    plan = plan_of({"a": (), "b": (), "c": ()}, resources=replace(RESOURCES, runs_per_job=3))
    config = config_in(tmp_path)
    submit_arrays(plan, config=config)
    queued = (slurm / "queue").read_text()
    (slurm / "queue").write_text(f"{queued}41.0|kdbatch-run-0\n41.7|kdbatch-run-1\n")
    assert cancel_runs(config.runs_dir, [ids(plan)["b"]]).job_ids == ("41",)
    assert (slurm / "scancel.txt").read_text() == "--signal=TERM 41.7\n"
    assert states(plan, config, {"41": ""}) == {"a": "queued", "b": "planned", "c": "queued"}
    cancel_runs(config.runs_dir, None)
    assert (slurm / "scancel.txt").read_text() == "--signal=TERM 41.7\n41\n"


def test_a_neighbour_without_memory_does_not_raise_that_of_the_other_runs(slurm, tmp_path):
    resources = replace(PAIRED, memory_gb=8)
    plan, config = plan_of({"a": (), "b": ()}, resources=resources), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "sacct").write_text("#!/bin/bash\necho '41|OUT_OF_MEMORY'\n")
    (slurm / "sacct").chmod(0o755)
    (slurm / "queue").write_text("")
    of_a = last_submissions(submissions_dir(config.runs_dir))[ids(plan)["a"]]
    of_a.stem.with_name(f"{of_a.stem.name}.ended").write_text("0 1 out of memory\n")
    found = next_requests(plan, config=config, live={})
    memory_of = {name: found[run_id].memory_gb for name, run_id in ids(plan).items()}
    assert memory_of == {"a": 12, "b": 8}


def test_a_setup_that_fails_is_the_reason_of_every_run_of_the_job(slurm, tmp_path):
    plan = plan_of({"a": (), "b": ()}, resources=PAIRED)
    config = config_in(tmp_path, site=Site(setup=("false",)))
    submit_arrays(plan, config=config)
    list(run_queued_elements(slurm))
    rows = load_run_rows(config.runs_dir, live=QueueAnswer())
    assert all(row.state == "failed" and "setup failed" in row.reason for row in rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[resources]\ndistill = {runs_per_job = 5}", r"runs_per_job: found 5 .* has 4 .* most 4"),
        ("[resources]\ndistill = {gpus = 3, runs_per_job = 2}", "found 2 of 3 GPUs each.*most 1"),
        ("[resources]\ndistill = {gpus = 8}", "gpus: found 8, and a node has 4"),
        ("[resources]\nshard = {runs_per_job = 2}", "runs_per_job: is for runs"),
        ("[resources]\ndistill = {nodes = 2, runs_per_job = 2}", "one node: leave one"),
        ('packing = "queue"\n[resources]\ndistill = {gpus = 2, runs_per_job = 2}', "one process"),
    ],
)
def test_what_no_node_can_start_is_refused_when_the_file_is_read(tmp_path, text, message):
    (tmp_path / "kdbatch.toml").write_text(f"[site]\nnode_gpus = 4\n{text}\n")
    with pytest.raises(UserError, match=message):
        load_config(tmp_path / "kdbatch.toml")


def test_a_node_with_fewer_gpus_than_runs_is_refused_in_one_line(
    slurm, stand_in_package, tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    plan = plan_of({"a": (), "b": ()}, resources=PAIRED)
    submit_arrays(plan, config=config_in(tmp_path, site=Site(packing="queue", exclusive=True)))
    (ended,) = run_queued_elements(slurm)
    assert ended.returncode == 2 and "2 runs share this job, which sees 1 GPU" in ended.stderr


def test_the_guides_whole_nodes_of_four_gpus_are_asked_for_by_four_runs(slurm, tmp_path):
    section = GUIDE.read_text().partition("### Whole nodes of four GPUs")[2]
    block = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert block and tomllib.loads(block[1])
    (tmp_path / "kdbatch.toml").write_text(block[1])
    config = load_config(tmp_path / "kdbatch.toml")
    plan = plan_of({str(i): () for i in range(8)}, resources=config.resources_of("distill"))
    (line,) = describe_launch(plan, config=config, queue="slurm")
    assert "array of 2, each 4 runs of 1 GPU, 16 CPU" in line
    submit_arrays(plan, config=config)
    script = (slurm / "41.sbatch").read_text()
    assert "#SBATCH --exclusive\n" in script and "gres" not in script.partition("# setup")[0]
    subprocess.run(["bash", "-n", str(slurm / "41.sbatch")], check=True)
