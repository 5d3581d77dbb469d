import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
def test_speeds_of_unseen_videos_are_distinguished(toy_shards: Path, tmp_path: Path) -> None:
    recipe = toy_recipe("rspnet", "r21d_10", shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 5, learned
