"""Pretraining by PRP. Chance is 50 %: two rates.

In the first epochs the network learns to reconstruct clips, and only later to classify their rate.
"""

import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
def test_the_playback_rate_of_unseen_videos_is_recognised(toy_shards: Path, tmp_path: Path) -> None:
    recipe = toy_recipe("prp", "r21d_10", shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 6, learned
