"""Networks are compiled as one graph, once for each batch size and mode, and compute the same."""

from pathlib import Path

import pytest
from support.compiling import finish, start

from kdbatch.run.models import BACKBONES

RARE = pytest.mark.rare
KINDS = ["r21d_10", pytest.param("shufflenet_2x", marks=RARE)]


def num_graphs(action: str, kind: str) -> int:
    return finish(start(action, kind))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_network_is_one_graph_computes_the_same_and_keeps_its_names(kind: str) -> None:
    assert num_graphs("evaluate", kind) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_in_its_fast_form_is_one_graph(kind: str) -> None:
    assert num_graphs("evaluate-fast", kind) == 1


@pytest.mark.parametrize("kind", ["r21d_10", pytest.param("shufflenet_2x", marks=pytest.mark.slow)])
def test_outputs_gradients_and_statistics_are_those_of_the_plain_network(kind: str) -> None:
    num_graphs("gradients", kind)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind == "shufflenet_2x" else RARE) for kind in BACKBONES],
)
def test_a_network_is_compiled_once_for_each_batch_size_in_training_and_in_evaluation(
    kind: str,
) -> None:
    assert num_graphs("train", kind) == 4


def test_teachers_of_one_architecture_share_a_graph_and_not_their_weights() -> None:
    assert num_graphs("distill", "r21d_10") == 2


def test_copies_that_predict_after_each_epoch_share_a_graph() -> None:
    assert num_graphs("infer", "r21d_10") == 1


@RARE
def test_two_processes_compile_into_one_private_cache_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for process in [start("real", "", TORCHINDUCTOR_CACHE_DIR=str(folder)) for _ in range(2)]:
        finish(process)
    assert any(folder.rglob("*.so")) or any(folder.rglob("*.cubin"))
    finish(start("real", "", TORCHINDUCTOR_CACHE_DIR=str(folder)))
