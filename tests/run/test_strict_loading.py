from pathlib import Path

import pytest
import torch

from kdbatch.base.errors import UserError
from kdbatch.run.checkpoint import load_weights, save_weights
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone


def test_of_pretrained_weights_a_classifier_lacks_exactly_the_head_and_no_other_name_passes(
    tmp_path: Path,
) -> None:
    small = Backbone(kind="shufflenet_2x", width=0.0625)
    pretrained, classifier = build_backbone(small), Classifier(build_backbone(small), num_classes=3)
    save_weights(tmp_path / "w.safetensors", pretrained)
    load_weights(tmp_path / "w.safetensors", classifier.backbone)
    report = classifier.load_state_dict(
        {f"backbone.{n}": v for n, v in pretrained.state_dict().items()}, strict=False
    )
    assert report.missing_keys == ["fc.weight", "fc.bias"] and not report.unexpected_keys
    assert all(
        torch.equal(value, classifier.backbone.state_dict()[name])
        for name, value in pretrained.state_dict().items()
    )
    save_weights(tmp_path / "prefixed.safetensors", torch.nn.ModuleDict({"module": pretrained}))
    with pytest.raises(UserError, match="belong to another network"):
        load_weights(tmp_path / "prefixed.safetensors", classifier.backbone)
