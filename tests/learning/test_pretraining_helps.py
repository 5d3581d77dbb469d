"""Pretraining helps when labels are few: at toy scale, over three seeds."""

import logging
from pathlib import Path

import pytest
from support.transfer import TASKS, accuracies_by_arm


@pytest.mark.learning
def test_with_few_labels_pretrained_networks_beat_those_from_scratch(tmp_path: Path) -> None:
    arms = accuracies_by_arm(tmp_path)
    for name, arm in arms.items():
        logging.getLogger(__name__).warning("%s: %s", name, arm)  # shown by make test-learning
    is_better = {task: arms[task].mean > arms["from_scratch"].mean for task in TASKS}
    assert all(is_better.values()), is_better
