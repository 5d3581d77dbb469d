"""Submission against a fake cluster on PATH."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import (
    LAUNCH_SHELL,
    RESOURCES,
    act,
    assert_golden_script,
    config_in,
    events,
    ids,
    plan_of,
)
from support.slurm import run_array_element
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.submissions import last_submissions
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Container, Site
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.runs.folder import RunFolder

PAIRS = {"a": (), "b": (), "x": ("a",), "y": ("b",), "z": ("a", "b")}
SITE = Site(
    partition="gpu",
    account="lab",
    qos="long",
    constraint="h200",
    gpu_type="h200",
    max_concurrent=8,
    setup=("module load cuda",),
)
OTHER_PARTITION = replace(
    RESOURCES,
    partition="old",
    constraint="",
    gpu_type="a100",
    sbatch={"exclude": False, "gres": "lscratch:50"},
)


def scripts(slurm: Path) -> list[str]:
    return [path.read_text() for path in sorted(slurm.glob("*.sbatch"))]


def flag(script: str, name: str) -> str | None:
    found = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)
    return found[1] if found else None


def test_the_job_id_of_each_run_is_returned(slurm, tmp_path):
    plan, config = plan_of(PAIRS), config_in(tmp_path)
    submitted = submit_arrays(plan, config=config)
    names = {run_id: name for name, run_id in ids(plan).items()}
    assert {names[run_id]: job_id for run_id, job_id in submitted.items()} == {
        "a": "41_0",
        "b": "41_1",
        "x": "42_0",
        "z": "42_1",
        "y": "42_2",
    }
    assert {
        run_id: s.job_id for run_id, s in last_submissions(submissions_dir(config.runs_dir)).items()
    } == submitted


def test_each_run_waits_for_its_own_parents_before_any_may_start(slurm, tmp_path):
    submit_arrays(plan_of(PAIRS), config=config_in(tmp_path))
    assert [flag(script, "dependency") for script in scripts(slurm)] == [None, None]
    assert (slurm / "scontrol.txt").read_text().splitlines() == [
        "release 41",
        "update JobId=42_0 Dependency=afterok:41_0",
        "update JobId=42_1 Dependency=afterok:41_0:41_1",
        "update JobId=42_2 Dependency=afterok:41_1",
        "release 42",
    ]


def test_runs_with_the_same_dependency_are_updated_in_one_line(slurm, tmp_path):
    submit_arrays(
        plan_of({"a": (), "b": (), "x": ("a",), "y": ("a",), "z": ("b",)}),
        config=config_in(tmp_path),
    )
    told = [
        line
        for line in (slurm / "scontrol.txt").read_text().splitlines()
        if line.startswith("update")
    ]
    assert told == [
        "update JobId=42_0,42_1 Dependency=afterok:41_0",
        "update JobId=42_2 Dependency=afterok:41_1",
    ]


@pytest.mark.parametrize(
    ("name", "site", "resources", "image", "job"),
    [
        ("array_with_everything", SITE, RESOURCES, "", "42"),
        ("single_job_bare", Site(gpu_flag="gpus-per-node"), RESOURCES, "", "43"),
        ("array_in_image", SITE, RESOURCES, "kd.sif", "41"),
        (
            "several_nodes",
            Site(gpu_type="a100"),
            replace(RESOURCES, nodes=2, gpus=4, cpus=32, memory_gb=256),
            "",
            "41",
        ),
        (
            "options_of_kind",
            replace(SITE, sbatch={"mail-type": "END,FAIL", "exclude": "n[1-3]", "exclusive": True}),
            OTHER_PARTITION,
            "",
            "41",
        ),
        (
            "packed_steps",
            SITE,
            replace(RESOURCES, runs_per_job=2, sbatch={"gres": "lscratch:50"}),
            "",
            "42",
        ),
        (
            "packed_queue",
            replace(SITE, packing="queue"),
            replace(RESOURCES, runs_per_job=2),
            "",
            "42",
        ),
        (
            "whole_nodes",
            Site(exclusive=True, node_gpus=4),
            replace(RESOURCES, runs_per_job=2),
            "",
            "41",
        ),
        ("cpu_only", Site(partition="cpu"), replace(RESOURCES, gpus=0, memory_gb=0), "", "41"),
    ],
)
def test_sbatch_texts(slurm, tmp_path, name, site, resources, image, job):
    config = config_in(tmp_path, site=site)
    if image:
        (tmp_path / image).touch()
        os.utime(tmp_path / image, (0, 0))  # the script knows it by its time
        container = Container(
            image=str(tmp_path / image),
            binds=("$TMPDIR", f"{tmp_path}:/data:ro"),
            env={"NCCL_DEBUG": "WARN"},
        )
        config = replace(config, container=container, cache=Cache(path="/local/$USER/frames"))
    waves = (("a", "b"), ("x", "y"), ("z",))
    submit_arrays(plan_of(PAIRS, waves=waves, resources=resources), config=config)
    text = re.sub(r"(wave\d)-[0-9a-f]{8}", r"\1-HASH", (slurm / f"{job}.sbatch").read_text())
    assert_golden_script(f"{name}.sbatch", text, folder=tmp_path)


def test_submitting_again_submits_nothing_while_the_jobs_live(slurm, tmp_path):
    plan, config = plan_of(PAIRS), config_in(tmp_path)
    submit_arrays(plan, config=config)
    assert submit_arrays(plan, config=config) == {}
    assert len(scripts(slurm)) == 2


def test_a_run_that_left_the_queue_unfinished_is_submitted_again_after_its_live_parents(
    slurm, tmp_path
):
    plan, config = plan_of(PAIRS), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "queue").write_text("41_1\n42_1\n42_2\n")  # a and x failed
    assert list(submit_arrays(plan, config=config).values()) == ["43", "44"]
    assert [flag(script, "dependency") for script in scripts(slurm)[2:]] == [None, "afterok:43"]


def test_a_done_parent_is_not_waited_for_and_a_done_run_not_submitted(slurm, tmp_path):
    plan, config = plan_of({"a": (), "b": (), "x": ("a",), "y": ("b",)}), config_in(tmp_path)
    for name in ("a", "b", "y"):
        done = RunFolder(config.runs_dir / ids(plan)[name]).done
        done.parent.mkdir(parents=True)
        done.write_text("{}")
    assert list(submit_arrays(plan, config=config)) == [ids(plan)["x"]]
    assert flag(scripts(slurm)[0], "dependency") is None
    assert not RunFolder(config.runs_dir / ids(plan)["a"]).assignment.exists()


def test_a_run_that_ends_while_squeue_runs_is_not_submitted_again(slurm, tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "squeue").write_text(
        f"#!/bin/bash\ntouch {RunFolder(config.runs_dir / ids(plan)['a']).done}\n"
    )
    assert submit_arrays(plan, config=config) == {}


def test_two_shells_at_once_submit_each_run_once(slurm, tmp_path):
    shell = [sys.executable, LAUNCH_SHELL, "submit", str(tmp_path), '{"a": [], "x": ["a"]}']
    submitters = [subprocess.Popen(shell, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(submitter.communicate()[0] for submitter in submitters) == ["0\n", "2\n"]
    assert len(scripts(slurm)) == 2


def test_sbatch_does_not_get_the_variables_of_a_surrounding_job(slurm, tmp_path, monkeypatch):
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "x")
    submit_arrays(plan_of({"a": ()}), config=config_in(tmp_path))
    seen = set(
        re.findall(r"^(S(?:LURM|BATCH)_\w+)=", (slurm / "env.txt").read_text(), re.MULTILINE)
    )
    assert seen == {"SLURM_CONF"}
    assert os.environ["SLURM_JOB_ID"] == "x"


def test_a_refusal_names_the_array_and_the_reason_and_keeps_what_was_submitted(
    slurm, tmp_path, capsys
):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    (slurm / "refuse").write_text("sbatch: error: invalid partition specified: gpuu\n")
    with pytest.raises(
        UserError, match=r"sbatch refused wave0-\w+: .*invalid partition specified: gpuu"
    ):
        submit_arrays(plan, config=config)
    assert last_submissions(submissions_dir(config.runs_dir)) == {}
    (slurm / "refuse").unlink()
    assert len(submit_arrays(plan, config=config)) == 1


def test_nothing_is_submitted_while_squeue_does_not_answer(slurm, tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    (slurm / "squeue_fails").write_text(
        "slurm_load_jobs error: Unable to contact slurm controller\n"
    )
    with pytest.raises(UserError, match="Unable to contact slurm controller.*scontrol ping"):
        submit_arrays(plan, config=config)
    assert len(scripts(slurm)) == 1


@pytest.mark.parametrize(("how", "code"), [({}, 0), ({"exit": 1}, 1), ({"stop_times": 1}, 85)])
def test_an_element_becomes_the_worker_of_its_own_run(slurm, stand_in_package, tmp_path, how, code):
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    submit_arrays(plan, config=config)
    act(plan, config, "b", **how)
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == code, ended.stderr
    assert set(events(plan, config)) == {"begin b"} | {
        {0: "end b", 85: "stop b"}.get(code, "begin b")
    }
    assert ("requeue 41_1" in (slurm / "scontrol.txt").read_text().splitlines()) == (code == 85)


def test_on_a_real_cluster_children_follow_their_parents(real_slurm, stand_in_package, tmp_path):
    plan, config = plan_of(PAIRS), config_in(tmp_path)
    plan = replace(
        plan,
        waves=tuple(
            replace(w, resources=Resources(gpus=0, cpus=1, minutes=5, memory_gb=1))
            for w in plan.waves
        ),
    )
    submitted = submit_arrays(plan, config=config)
    assert submit_arrays(plan, config=config) == {}
    wait_until(
        lambda: all(RunFolder(config.runs_dir / run_id).is_done() for run_id in submitted),
        timeout=60,
    )
    seen = events(plan, config)
    assert all(
        seen.index(f"end {p}") < seen.index(f"begin {c}") for p, c in ("ax", "by", "az", "bz")
    )
