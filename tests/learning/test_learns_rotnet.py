from pathlib import Path

import pytest
from learning_world import pretrain_accuracy, toy_recipe

from kdbatch.vocab.backbones import BACKBONE_TITLES


@pytest.mark.learning
@pytest.mark.parametrize("backbone", [kind for kind in BACKBONE_TITLES if kind != "r2plus1d_18"])
def test_rotnet_learns_which_way_is_up(toy_shards: Path, tmp_path: Path, backbone: str) -> None:
    """With the toy profile as it is. Six standard errors: one in 10^9 networks that learn nothing gets there by luck."""
    learned = pretrain_accuracy(
        toy_recipe("rotnet", backbone, shards_dir=toy_shards, folder=tmp_path), shards_dir=toy_shards, folder=tmp_path
    )
    assert learned.sigmas > 6 and learned.seen > learned.chance
