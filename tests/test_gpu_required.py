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
import importlib.util, runpy, sys, torch
find = importlib.util.find_spec
def found(name, *package):
    return None if name in ("av", "safetensors") else find(name, *package)
def no_compiler(*arguments, **settings):
    raise RuntimeError("no C compiler")
importlib.util.find_spec, torch.compile = found, no_compiler
sys.argv = ["measure.py", "--tiny", "--network=shufflenet_2x", "--limit=5000"]
runpy.run_path("tests/gpu/measure.py", run_name="__main__")
"""


def measured(*arguments: str) -> list[str]:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=UNCOMPILED, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_table_is_printed_without_packages_that_read_videos_and_without_what_fails() -> None:
    lines = measured("-c", WITHOUT)
    for package in ("av", "safetensors"):
        assert f"{package} is not installed; nothing here needs it" in lines
    assert sum("batches come from memory" in line for line in lines) == 1
    failed = [line for line in lines if "no C compiler" in line]
    assert [line.partition(": ")[0].split(", ", 2)[2] for line in failed] == [
        *("compiled", "compiled, fed", "compiled", "compiled, graphs")
    ]
    rows = [line.split()[:2] for line in lines if line not in failed]
    assert rows.count(["ShuffleNet", "finetune"]) == 4 + 1  # with those beside CUDA graphs
    assert rows.count(["ShuffleNet", "distill"]) == rows.count(["ShuffleNet", "pretrain"]) == 3


@pytest.mark.slow
def test_the_whole_table_is_printed_where_videos_can_be_read() -> None:
    """Every row that a GPU prints is made here, too, at a small size, in order of importance."""
    lines = measured("tests/gpu/measure.py", "--tiny", "--network=r21d_10", "--limit=5000")
    rows = [(line[11:19].strip(), line[20:40].strip()) for line in lines if " - " in line]
    usual, fed = "usual loop, float32", "fed from shards"
    compiled = ("compiled", fed, "compiled, fed", "fed by cache", "usual loop, autocast")
    assert rows == [
        *(("finetune", name) for name in (usual, "kdbatch", *compiled)),
        *((stage, name) for stage in ("distill", "pretrain") for name in (usual, "kdbatch", fed)),
        *(("finetune", name) for name in (usual, "compiled", "compiled, graphs")),
    ]
    for text in ("a distillation step takes", "a map of"):
        assert sum(f"R(2+1)D: {text}" in line for line in lines) == 1
