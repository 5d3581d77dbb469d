"""Does pretraining help where labels are few? At toy scale, over three seeds."""

import logging

import pytest
from transfer_world import TASKS, Arm, train_all

pytestmark = [pytest.mark.learning, pytest.mark.xdist_group("transfer")]


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arm]:
    return train_all(tmp_path_factory.mktemp("transfer"))


@pytest.mark.parametrize("task", TASKS)
def test_where_labels_are_few_a_pretrained_network_beats_one_from_scratch(arms: dict[str, Arm], task: str) -> None:
    pretrained, scratch = arms[task], arms["from_scratch"]
    logging.getLogger(__name__).warning("%s: %s, from scratch %s", task, pretrained, scratch)  # shown by make test-learning
    assert pretrained.mean > scratch.mean
