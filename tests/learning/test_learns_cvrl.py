import logging
from pathlib import Path

import pytest
from support.learning import pretrain_and_evaluate, toy_recipe


@pytest.mark.learning
def test_the_other_view_of_a_clip_is_found_among_unseen_videos(
    toy_shards: Path, tmp_path: Path
) -> None:
    recipe = toy_recipe("cvrl", "shufflenet_2x", shards_dir=toy_shards, folder=tmp_path)
    learned = pretrain_and_evaluate(recipe, shards_dir=toy_shards, folder=tmp_path)
    logging.getLogger(__name__).warning("%s", learned)  # shown by make test-learning
    assert learned.sigmas > 5, learned
