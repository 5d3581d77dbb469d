"""Layers are compiled one by one, once for each batch size, and compute the same as before."""

import inspect
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


def graphs_per_layer(action: str, kind: str) -> float:
    """The number of compiled graphs divided by the number of layers of the network."""
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SHELL), action, kind]
    env = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    num_graphs, num_layers = map(int, done.stdout.split())
    return num_graphs / num_layers


def assert_graphs(action: str, kind: str, *, per_layer: int) -> None:
    """Check the number of graphs; older PyTorch counts otherwise, as equal layers share theirs."""
    num_graphs = graphs_per_layer(action, kind)  # raises where a result differs
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
        assert num_graphs == per_layer


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
def test_compiled_layers_compute_the_same_and_keep_their_names(kind: str) -> None:
    """Each layer compiles to one graph: none of them has a graph break."""
    assert_graphs("evaluate", kind, per_layer=1)


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
def test_layers_in_their_fast_form_compile_to_one_graph_each(kind: str) -> None:
    assert_graphs("evaluate-fast", kind, per_layer=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BACKBONES)
def test_a_layer_is_compiled_once_for_each_batch_size_in_training_and_in_evaluation(
    kind: str,
) -> None:
    assert_graphs("train", kind, per_layer=4)


def test_a_student_and_its_teachers_are_compiled_separately() -> None:
    assert_graphs("distill", "shufflenet_2x", per_layer=3)


def test_layers_are_compiled_only_on_a_single_gpu() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    groups = [
        ProcessGroup(device=gpu),
        ProcessGroup(device=gpu, world_size=2),
        ProcessGroup(device=cpu),
    ]
    assert [can_compile(group) for group in groups] == [True, False, False]
