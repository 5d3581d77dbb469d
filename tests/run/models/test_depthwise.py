"""The Triton kernels compute a shuffle and a depthwise convolution, and compile for a GPU."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SHELL = Path(__file__).parents[2] / "support" / "triton_shell.py"
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def run_shell(*arguments: str, **variables: str) -> list[str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(SHELL), *arguments],
        env={**os.environ, "PYTHONPATH": paths, **variables},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_outputs_and_gradients_are_those_of_pytorchs_shuffle_and_convolution() -> None:
    deviations = run_shell("interpret", TRITON_INTERPRET="1")
    assert len(deviations) == 3
    assert all(0 <= float(deviation) < 1e-12 for deviation in deviations)


@pytest.mark.slow
def test_the_kernels_compile_for_an_h100_without_one() -> None:
    assert run_shell("compile") == ["cubin"] * 6
