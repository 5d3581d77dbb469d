"""Pretraining by RotNet. Chance is 50 %: two rotations."""

import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
@pytest.mark.parametrize("backbone", ["r21d_10", "shufflenet_2x"])
def test_the_rotation_of_unseen_videos_is_recognised(
    toy_shards: Path, tmp_path: Path, backbone: str
) -> None:
    recipe = toy_recipe("rotnet", backbone, shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 6, learned
