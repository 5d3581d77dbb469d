"""Networks are compiled as one graph, once for each batch size and mode, and compute the same."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compiling import Outcome, finish, start

from kdbatch.run.models import BACKBONES

pytestmark = pytest.mark.xdist_group("compilation")
RARE = pytest.mark.rare
KINDS = ["r21d_10", pytest.param("shufflenet_2x", marks=RARE)]
Find = Callable[..., Outcome]


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_network_is_one_graph_computes_the_same_and_keeps_its_names(
    kind: str, outcome: Find
) -> None:
    assert outcome("evaluate", kind).num_graphs == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_in_its_fast_form_is_one_graph(kind: str, outcome: Find) -> None:
    assert outcome("evaluate-fast", kind).num_graphs == 1


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(
    kind: str, outcome: Find
) -> None:
    assert not outcome("gradients", kind).error


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "shufflenet_2x" else RARE) for kind in BACKBONES],
)
def test_a_network_is_compiled_once_for_each_batch_size_in_training_and_in_evaluation(
    kind: str, outcome: Find
) -> None:
    assert outcome("train", kind).num_graphs == 4


def test_teachers_of_one_architecture_share_a_graph_and_not_their_weights(outcome: Find) -> None:
    assert outcome("distill").num_graphs == 2


def test_copies_that_predict_after_each_epoch_share_a_graph(outcome: Find) -> None:
    assert outcome("infer").num_graphs == 1


@RARE
def test_two_processes_compile_into_one_private_cache_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"

    def compiling() -> "subprocess.Popen[str]":
        return start("real/tiny", TORCHINDUCTOR_CACHE_DIR=str(folder))

    def errors(*processes: "subprocess.Popen[str]") -> list[str]:
        return [found.error for process in processes for found in finish(process)]

    assert errors(compiling(), compiling()) == ["", ""]
    assert any(folder.rglob("*.so")) or any(folder.rglob("*.cubin"))
    assert errors(compiling()) == [""]
