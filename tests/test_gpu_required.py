"""Tests that need a GPU are skipped with one reason, or fail if a GPU is required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
ROOT = Path(__file__).parent.parent
COMMAND = (sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:cacheprovider", "-q")


def run_without_gpu(*, required: str) -> tuple[int, list[str]]:
    env = {**os.environ, "KDBATCH_REQUIRE_GPU": required, "KDBATCH_TEST_DEVICE": "cuda"}
    done = subprocess.run(COMMAND, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_they_are_skipped_with_one_line() -> None:
    code, lines = run_without_gpu(required="")
    (line,) = [line for line in lines if line.startswith("SKIPPED")]
    assert code == 0 and "these tests need a CUDA device, and torch finds none here" in line
    assert " skipped in " in lines[-1] and "passed" not in lines[-1]


def test_they_fail_if_a_gpu_is_required() -> None:
    code, lines = run_without_gpu(required="1")
    assert code == 1 and "skipped" not in lines[-1] and "passed" not in lines[-1]
    assert any("a GPU is required (KDBATCH_REQUIRE_GPU=1), and these" in line for line in lines)


# Compiling is tested in tests/run/compilation; here its rows compute without it, in seconds.
UNCOMPILED = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
WITHOUT = """
import importlib.util, runpy, sys
find = importlib.util.find_spec
def found(name, *package):
    return None if name in ("av", "safetensors") else find(name, *package)
importlib.util.find_spec = found
sys.argv = ["measure.py", "--tiny", "--network=shufflenet_2x", "--limit=600"]
runpy.run_path("tests/gpu/measure.py", run_name="__main__")
"""


def measure(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=UNCOMPILED, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.mark.slow
def test_the_table_is_printed_without_the_packages_that_read_videos() -> None:
    done = measure("-c", WITHOUT)
    assert done.returncode == 0, done.stderr
    assert "av is not installed" in done.stdout and "safetensors is not installed" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines()[4:]]
    assert "a part failed" not in done.stdout
    assert rows.count(["ShuffleNet", "finetune"]) == 4 + 4  # plain ones, compiled ones
    assert rows.count(["ShuffleNet", "distill"]) == 4


@pytest.mark.slow
def test_the_whole_table_is_printed_where_videos_can_be_read() -> None:
    """Every row that a GPU prints is made here, too, at a small size."""
    done = measure("tests/gpu/measure.py", "--tiny", "--network=r21d_10", "--limit=600")
    assert done.returncode == 0 and "a part failed" not in done.stdout, done.stdout + done.stderr
    fed = ("fed from shards", "fed by cache", "kdbatch", "usual loop, autocast")
    for stage in ("finetune", "distill", "pretrain"):
        own = [line for line in done.stdout.splitlines() if f"R(2+1)D    {stage}" in line]
        assert all(any(name in line for line in own) for name in fed), own
    for text in ("a distillation step takes", "a map of"):
        assert f"R(2+1)D: {text}" in done.stdout
    assert done.stdout.count("compiled, graphs") == done.stdout.count("compiled ") == 1
