"""Checkpoints of torchvision's networks, with random weights, become classifiers and backbones."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.video import r2plus1d_18, swin3d_t

from kdbatch.run.imports.stage import read_import
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.imported import Import, ImportedClasses
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

NAMES = ("another", *(f"Class_{k:03d}." for k in reversed(range(51))))
KEYS = {"r2plus1d_18": (), "swin3d_t": (("head.", "fc."),)}
HEADS = {"r2plus1d_18": "fc.", "swin3d_t": "head."}
MAKERS: dict[str, Callable[..., nn.Module]] = {"r2plus1d_18": r2plus1d_18, "swin3d_t": swin3d_t}


def save_torch(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def save_safe(state: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)


@pytest.fixture
def shards(sharded) -> Path:
    """The index of a data set whose 51 classes are among the names in another order."""
    return sharded(hmdb51=6766).shards_dir


def classes_of(shards: Path) -> ImportedClasses:
    subset = Subset(dataset="hmdb51", split="train01", num_places=0, num_classes=51, digest="")
    evaluation = Evaluation(test=subset)
    return ImportedClasses(names=NAMES, data=subset, view=View(), evaluation=evaluation)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("save", [save_torch, save_safe])
def test_a_classifier_predicts_as_torchvisions_does(
    kind: str, save: Callable[..., None], shards: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    theirs = MAKERS[kind](num_classes=len(NAMES)).eval()
    save(theirs.state_dict(), tmp_path / "file")
    recipe = Import(
        sha256="0" * 64,
        backbone=Backbone(kind=kind),
        keys=KEYS[kind],
        classifier=classes_of(shards),
    )
    own = read_import(recipe, tmp_path / "file", shards_dir=shards, where="T1")
    clip = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        expected = theirs(clip)[:, list(range(51, 0, -1))]
        torch.testing.assert_close(own(clip), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_backbone_is_torchvisions_without_its_head(kind: str, tmp_path: Path) -> None:
    state = MAKERS[kind]().state_dict()
    torch.save({"model": state}, tmp_path / "file")
    keys = (("model.", ""), (f"model.{HEADS[kind]}", None))
    recipe = Import(sha256="0" * 64, backbone=Backbone(kind=kind), keys=keys)
    own = read_import(recipe, tmp_path / "file", shards_dir=tmp_path, where="T1").state_dict()
    kept = {name for name in state if not name.startswith(HEADS[kind])}
    assert set(own) == kept and all(torch.equal(own[name], state[name]) for name in kept)
