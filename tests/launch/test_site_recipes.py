"""The recipes of GUIDE for kinds of sites: what is typed there is what SLURM is asked for."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import plan_of

from kdbatch.launch.container.image import image_path
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.machine import (
    default_jobs,
    gpu_variable,
    queue_kind,
    visible_gpus,
    worker_env,
)
from kdbatch.launch.slurm.arrays import MetLimit
from kdbatch.launch.slurm.job.job_options import job_flags
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config, load_config

GUIDE = Path(__file__).parents[2] / "docs" / "GUIDE.md"


def recipe(title: str, tmp_path: Path) -> Config:
    """The block of kdbatch.toml below a title, with folders of this test."""
    section = GUIDE.read_text(encoding="utf-8").partition(f"### {title}\n")[2]
    block = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert block, title
    (tmp_path / "kdbatch.toml").write_text(block[1])
    config = load_config(tmp_path / "kdbatch.toml")
    paths = {name: str(tmp_path / name) for name in ("shards", "runs", "images")}
    return replace(config, paths=replace(config.paths, **paths))


def test_eight_gpus_of_amd_are_asked_for_by_type_and_given_to_the_image(slurm, tmp_path):
    config = recipe("Eight AMD GPUs a node", tmp_path)
    (tmp_path / "kd.sif").touch()
    config = replace(config, container=replace(config.container, image=str(tmp_path / "kd.sif")))
    plan = plan_of({"a": ()}, resources=config.resources["pretrain"])
    submit_arrays(plan, config=config)
    script = (slurm / "41.sbatch").read_text()
    assert "--gres=gpu:mi250x:8" in script and "--ntasks-per-node=8" in script
    assert " --rocm " in script and "--env=MIOPEN_USER_DB_PATH=/tmp/miopen" in script


def test_two_partitions_have_their_own_kinds_of_jobs_and_the_limit_is_met_by_arrays(
    slurm, tmp_path
):
    config = recipe("Two partitions with a submit limit", tmp_path)
    (slurm / "max_submit").write_text("200")
    limits: list[MetLimit] = []
    plan = plan_of({f"r{i}": () for i in range(260)}, resources=config.resources_of("finetune"))
    submitted = submit_arrays(plan, config=config, on_limit=limits.append)
    first = (slurm / "41.sbatch").read_text()
    assert "--partition=gpu\n" in first and "--array=0-124%100\n" in first
    assert len(submitted) <= 200 and len(submitted) + len(limits[0].run_ids) == 260
    assert config.resources_of("shard").over(config.site).partition == "cpu"
    assert "gres" not in job_flags(config.resources_of("shard"), site=config.site)


def test_a_single_server_has_its_runs_in_the_local_queue_one_on_each_gpu(tmp_path, monkeypatch):
    config = recipe("A single server", tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert (queue_kind(), default_jobs()) == ("local", 4)
    assert describe_launch(plan_of({"a": ()}), config=config, queue="local")
    gpus = [worker_env(i, jobs=8, gpus=visible_gpus(), pid=1)[gpu_variable()] for i in range(8)]
    assert gpus == ["0", "1", "2", "3"] * 2
    assert config.cache.path and config.cache.max_gb == 100


@pytest.mark.parametrize("queue", ["slurm", "local"])
def test_an_image_of_a_registry_is_planned_before_it_is_pulled(slurm, tmp_path, queue):
    config = recipe("An image of the site, or of a registry", tmp_path)
    assert describe_launch(plan_of({"a": ()}), config=config, queue=queue)
    assert image_path(config).parent == tmp_path / "images" and not image_path(config).exists()
