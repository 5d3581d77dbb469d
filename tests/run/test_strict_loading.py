from pathlib import Path

import pytest
import torch

from kdbatch.base.errors import UserError
from kdbatch.run.checkpoint import load_weights, save_weights
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone


def test_pretrained_weights_lack_only_the_head_and_other_names_are_refused(
    tmp_path: Path,
) -> None:
    small = Backbone(kind="shufflenet_2x", width=0.0625)
    pretrained, classifier = build_backbone(small), Classifier(build_backbone(small), num_classes=3)
    save_weights(tmp_path / "w.safetensors", pretrained)
    load_weights(tmp_path / "w.safetensors", classifier.backbone)
    prefixed = {f"backbone.{name}": value for name, value in pretrained.state_dict().items()}
    report = classifier.load_state_dict(prefixed, strict=False)
    assert report.missing_keys == ["fc.weight", "fc.bias"] and not report.unexpected_keys
    loaded = classifier.backbone.state_dict()
    assert all(torch.equal(value, loaded[n]) for n, value in pretrained.state_dict().items())
    save_weights(tmp_path / "prefixed.safetensors", torch.nn.ModuleDict({"module": pretrained}))
    with pytest.raises(UserError, match=r"another network .*: rm -r .* && kdbatch resume --re"):
        load_weights(tmp_path / "prefixed.safetensors", classifier.backbone)
