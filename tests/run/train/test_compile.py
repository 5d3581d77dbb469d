"""Layers are compiled each for itself, as often as they meet another size of batch, and compute
what they did.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import BACKBONES
from kdbatch.run.train.optim import can_compile

SHELL = Path(__file__).parents[2] / "support" / "compile_shell.py"


def graphs_per_layer(what: str, kind: str) -> float:
    """How many graphs the compiler was given for each layer of the network."""
    paths = os.pathsep.join(path for path in sys.path if path)
    words = [sys.executable, "-W", "error::RuntimeWarning", str(SHELL), what, kind]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    num_graphs, num_layers = map(int, done.stdout.split())
    return num_graphs / num_layers


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
def test_compiled_layers_compute_what_they_did_and_keep_their_names(kind: str) -> None:
    """No layer may hold what the compiler cannot follow: one whole graph each."""
    assert graphs_per_layer("evaluate", kind) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
def test_a_layer_is_compiled_once_for_each_size_of_batch_in_training_and_in_evaluation(
    kind: str,
) -> None:
    assert graphs_per_layer("train", kind) == 4


def test_a_student_and_its_teachers_are_compiled_side_by_side() -> None:
    assert graphs_per_layer("distill", "shufflenet_2x") == 3


def test_layers_are_compiled_on_one_gpu_alone() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    teams = [
        ProcessGroup(device=gpu),
        ProcessGroup(device=gpu, world_size=2),
        ProcessGroup(device=cpu),
    ]
    assert [can_compile(team) for team in teams] == [True, False, False]
