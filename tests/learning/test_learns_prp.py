"""Chance is 50 %: two rates. In the first epochs the network learns to rebuild clips, and only then
their rate.
"""

import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
def test_how_fast_unseen_videos_play_is_told(toy_shards: Path, tmp_path: Path) -> None:
    recipe = toy_recipe("prp", "r21d_10", shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 6, learned
