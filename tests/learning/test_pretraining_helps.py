"""Does pretraining help where labels are few? At toy scale, over three seeds."""

import logging
from pathlib import Path

import pytest
from support.transfer import TASKS, accuracies_by_arm


@pytest.mark.learning
def test_where_labels_are_few_pretrained_networks_beat_those_from_scratch(tmp_path: Path) -> None:
    arms = accuracies_by_arm(tmp_path)
    for name, arm in arms.items():
        logging.getLogger(__name__).warning("%s: %s", name, arm)  # shown by make test-learning
    assert {task: arms[task].mean > arms["from_scratch"].mean for task in TASKS} == dict.fromkeys(
        TASKS, True
    )
