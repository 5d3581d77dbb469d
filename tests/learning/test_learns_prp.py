from pathlib import Path

import pytest
from learning_world import pretrain_accuracy, toy_recipe


@pytest.mark.learning
def test_prp_learns_how_fast_a_clip_plays(toy_shards: Path, tmp_path: Path) -> None:
    """After 10 epochs: for the first 3 or 4 the network learns to rebuild clips, and only then their rate. Chance is 50 %."""
    recipe = toy_recipe("prp", "r21d_10", shards_dir=toy_shards, folder=tmp_path, epochs=10)
    learned = pretrain_accuracy(recipe, shards_dir=toy_shards, folder=tmp_path)
    assert learned.sigmas > 6 and learned.seen > learned.chance
