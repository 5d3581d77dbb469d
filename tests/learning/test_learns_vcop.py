"""Pretraining by VCOP. Chance is 16.7 %: six orders.

For about 20 steps the loss stays at that of guessing; then it falls.
"""

import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
def test_the_order_of_clips_of_unseen_videos_is_recognised(
    toy_shards: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe("vcop", "r21d_10", shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 6, learned
