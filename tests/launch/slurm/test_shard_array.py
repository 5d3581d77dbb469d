"""Shards made by the elements of a SLURM array, against a fake cluster on PATH; the elements
themselves run for real.
"""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import assert_golden_script, config_in
from support.slurm import run_array_element

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.launch.slurm.shard_array import ShardArray, num_elements, submit_shard_array
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.config import Config, Site
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import load_index

SITE = Site(partition="cpu", account="lab", max_concurrent=8, setup=("module load python",))


def _array(folder: Path, *ranges: range) -> ShardArray:
    """An array that asks kdbatch for its version, so that no data set is needed."""
    return ShardArray(
        name="shard-k400-train",
        arguments=("--version",),
        ranges=ranges,
        folder=folder / "slurm" / "train",
        cwd=folder,
        binds=(folder,),
    )


def test_sbatch_text(slurm, tmp_path):
    job_ids = submit_shard_array(
        _array(tmp_path, range(0, 20), range(20, 40)), config=config_in(tmp_path, site=SITE)
    )
    assert job_ids == ("41_0", "41_1")
    script = (slurm / "41.sbatch").read_text()
    assert_golden_script("shard_array.sbatch", script, folder=tmp_path)


def test_an_element_is_the_same_command_with_its_range_in_the_same_folder(slurm, tmp_path):
    submit_shard_array(_array(tmp_path, range(0, 20), range(20, 40)), config=config_in(tmp_path))
    ended = run_array_element(slurm, "41_1")
    assert ended.returncode == 0, ended.stderr
    assert (
        (tmp_path / "slurm" / "train" / "shards-00020-00040.log").read_text().startswith("kdbatch ")
    )
    assert not (tmp_path / "slurm" / "train" / "shards-00000-00020.log").exists()


def test_the_arguments_of_an_element(tmp_path):
    assert [
        target.arguments
        for target in _array(tmp_path, range(0, 20), range(20, 41)).targets.values()
    ] == [
        ("kdbatch", "--version", "--shards=0:20"),
        ("kdbatch", "--version", "--shards=20:41"),
    ]


def test_no_second_array_is_submitted_while_the_first_is_in_the_queue(slurm, tmp_path):
    array, config = _array(tmp_path, range(0, 1), range(1, 2)), config_in(tmp_path)
    submit_shard_array(array, config=config)
    message = "shard-k400-train: 2 elements of job 41 are still in the queue"
    with pytest.raises(UserError, match=f"{message}. Wait, or: scancel 41"):
        submit_shard_array(array, config=config)
    (slurm / "queue").write_text("7_1\n")
    assert submit_shard_array(array, config=config) == ("42_0", "42_1")


@pytest.mark.parametrize("says", ["ID\n", "Your group runs job 7 of 50\nSubmitted batch job ID\n"])
def test_an_array_is_found_by_its_name_whatever_sbatch_prints(slurm, tmp_path, says):
    (slurm / "says").write_text(says)
    job_ids = submit_shard_array(
        _array(tmp_path, range(0, 1), range(1, 2)), config=config_in(tmp_path)
    )
    assert job_ids == ("41_0", "41_1")
    assert (slurm / "scontrol.txt").read_text() == "release 41\n"


def test_a_refusal_is_one_line(slurm, tmp_path):
    (slurm / "refuse").write_text("sbatch: error: invalid partition specified: cpuu\n")
    with pytest.raises(
        UserError, match=r"sbatch refused train: .*invalid partition specified: cpuu"
    ):
        submit_shard_array(_array(tmp_path, range(0, 1)), config=config_in(tmp_path))


def test_the_number_of_elements_is_limited_by_concurrency_and_shards():
    config = Config(site=Site(max_concurrent=8, max_array_size=100))
    assert [num_elements(n, config=config) for n in (1, 8, 500)] == [1, 8, 8]


def test_the_resources_of_an_element_come_from_the_configuration():
    asked = Resources(gpus=0, cpus=32, minutes=60, memory_gb=64)
    assert Config(resources={"shard": asked}).resources_of("shard") == asked
    assert Config().resources_of("shard").gpus == 0
    with pytest.raises(UserError, match=re.escape("resources.shards: no such kind of run")):
        Config(resources={"shards": asked})


def test_from_the_command_to_the_index_with_elements_in_reverse_order(slurm, tmp_path):
    size = ToySize(
        k400_train=2,
        k400_val=0,
        ssv2_train=0,
        ssv2_validation=0,
        num_motions=1,
        min_frames=18,
        max_frames=20,
    )
    few = replace(size, ucf101_clips_per_group=0, hmdb51_train=0, hmdb51_test=0, hmdb51_unused=0)
    write_toy(tmp_path / "toys", processes=1, progress=silent, size=few)
    words = ("shard", "k400", "--root=toys/k400", "--videos-per-shard=4", "--processes=1")
    output = _kdbatch(*words, "--slurm", cwd=tmp_path)
    assert "2 of 2 shards for 8 videos are still to be made: job 41 with 2 elements" in output
    for element in ("1", "0"):
        assert not (tmp_path / "shards" / "k400" / "index.json").exists()
        job = {
            "SLURM_JOB_ID": "41",
            "SLURM_ARRAY_JOB_ID": "41",
            "SLURM_ARRAY_TASK_ID": element,
            "SLURM_PROCID": "0",
            "SLURM_NTASKS": "1",
        }
        subprocess.run(
            ["bash", str(slurm / "41.sbatch")],
            env={**os.environ, **job},
            capture_output=True,
            check=True,
        )
    made = load_index(tmp_path / "shards", "k400")
    assert made == build_shards(
        ShardRequest(dataset="k400", videos_per_shard=4, processes=1),
        root=tmp_path / "toys" / "k400",
        shards_dir=tmp_path / "here",
        progress=silent,
    )
    assert "0 of 2 shards" in _kdbatch(*words, "--slurm", cwd=tmp_path)
    assert "8 videos in shards/k400/ are what was written" in _kdbatch(
        "shard", "verify", "k400", cwd=tmp_path
    )


def test_a_folder_that_cannot_be_written_is_one_line(slurm, tmp_path):
    root = tmp_path / "videos" / "train" / "archery"
    root.mkdir(parents=True)
    (root / "abcdefghijk_000001_000011.mp4").touch()
    (tmp_path / "shards" / "k400").mkdir(parents=True)
    (tmp_path / "shards" / "k400" / "slurm").touch()
    words = ("shard", "k400", "--root=videos", "--max-rejected=1")
    output = _slip(*words, "--slurm", cwd=tmp_path)
    assert "shards/k400: shards cannot be written (Not a directory: " in output
    assert output.endswith(
        "go on with: kdbatch shard k400 --split train --max-rejected 1.0 "
        f"--root {tmp_path}/videos --slurm\n"
    )
    _kdbatch(*words, cwd=tmp_path)
    (tmp_path / "shards" / "k400" / "index.lock").unlink()
    (tmp_path / "shards" / "k400" / "index.lock").mkdir()
    assert "shards/k400: shards cannot be written (Is a directory: " in _slip(
        *words, "--slurm", cwd=tmp_path
    )


def _slip(*words: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done
    return done.stderr


def _kdbatch(*words: str, cwd: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
