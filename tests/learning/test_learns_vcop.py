from pathlib import Path

import pytest
from learning_world import pretrain_accuracy, toy_recipe


@pytest.mark.learning
def test_vcop_learns_the_order_of_clips(toy_shards: Path, tmp_path: Path) -> None:
    """After 26 epochs of 7 steps: for the first 80 steps or so the loss stays at that of guessing. Chance is 16.7 %."""
    recipe = toy_recipe("vcop", "r21d_10", shards_dir=toy_shards, folder=tmp_path, epochs=26)
    learned = pretrain_accuracy(recipe, shards_dir=toy_shards, folder=tmp_path)
    assert learned.sigmas > 6 and learned.seen > learned.chance
