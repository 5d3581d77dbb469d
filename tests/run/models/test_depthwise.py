"""The Triton kernels compute a shuffle and a depthwise convolution, and compile for a GPU."""

import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from kdbatch.run.models.layers import kernel_trial
from kdbatch.run.models.layers.forms import FAST_DEVICES, set_form
from kdbatch.run.models.shufflenet import ShuffleUnit

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


def test_where_the_kernel_cannot_run_pytorchs_layers_compute_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(FAST_DEVICES, "depthwise", frozenset({"cpu"}))  # for which Triton has none
    monkeypatch.setattr(kernel_trial, "_found", {})
    unit = ShuffleUnit(12, 24, halve=True)
    clip = torch.randn(2, 12, 2, 3, 3)
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        found = [unit(clip), unit(clip)]
        set_form(unit, "plain")
        assert all(torch.equal(out, unit(clip)) for out in found)
    (record,) = caplog.records
    assert "Triton fails here" in record.getMessage() and "C compiler" in record.getMessage()


@pytest.mark.slow
def test_the_kernels_compile_for_an_h100_without_one() -> None:
    assert run_shell("compile") == ["cubin"] * 6
