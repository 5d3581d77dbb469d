"""The recipes of GUIDE for kinds of sites: what is typed there is what SLURM is asked for."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import plan_of

from kdbatch.base.parse import parse
from kdbatch.launch.container.image import image_path
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.config import Config

GUIDE = Path(__file__).parents[2] / "docs" / "GUIDE.md"


def recipe(title: str, tmp_path: Path) -> Config:
    """The block of kdbatch.toml below a title, with folders of this test."""
    section = GUIDE.read_text(encoding="utf-8").partition(f"### {title}\n")[2]
    block = re.search(r"```toml\n(.*?)```", section, re.DOTALL)
    assert block, title
    config = parse(Config, tomllib.loads(block[1]), where="GUIDE.md")
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


@pytest.mark.parametrize("queue", ["slurm", "local"])
def test_an_image_of_a_registry_is_planned_before_it_is_pulled(slurm, tmp_path, queue):
    config = recipe("An image of the site, or of a registry", tmp_path)
    assert describe_launch(plan_of({"a": ()}), config=config, queue=queue)
    assert image_path(config).parent == tmp_path / "images" and not image_path(config).exists()
