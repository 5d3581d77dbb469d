"""Networks of torchvision have its state dicts, outputs, sizes and published multiply-adds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.networks import classifier
from torch import nn
from torchvision.models import video

from kdbatch.run.models.multiply_adds import count_multiply_adds

# kind: torchvision's function, its published weights, the name of its head, the side of its clips
THEIRS: dict[str, tuple[Callable[..., nn.Module], Any, str, int]] = {
    "r2plus1d_18": (video.r2plus1d_18, video.R2Plus1D_18_Weights.DEFAULT, "fc", 112),
    "r3d_18": (video.r3d_18, video.R3D_18_Weights.DEFAULT, "fc", 112),
    "swin3d_t": (video.swin3d_t, video.Swin3D_T_Weights.DEFAULT, "head", 224),
}


@pytest.mark.parametrize("kind", THEIRS)
def test_weights_of_torchvision_give_the_outputs_of_torchvision(kind: str) -> None:
    build, _, head, _ = THEIRS[kind]
    torch.manual_seed(0)
    theirs = build(weights=None, num_classes=7).eval()
    ours = classifier(kind, width=1.0, num_classes=7).eval()
    state = theirs.state_dict()
    ours.fc.load_state_dict({name: state.pop(f"{head}.{name}") for name in ("weight", "bias")})
    ours.backbone.load_state_dict(state, strict=True)
    sizes = {name: value.shape for name, value in ours.backbone.state_dict().items()}
    assert sizes == {name: value.shape for name, value in state.items()}
    for shape in ((1, 3, 4, 32, 32), (2, 3, 9, 48, 60)):
        clip_BCTHW = torch.randn(shape)
        with torch.no_grad():
            found, expected = ours(clip_BCTHW), theirs(clip_BCTHW)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_swin_equals_torchvision_on_clips_of_the_study() -> None:
    torch.manual_seed(0)
    theirs = video.swin3d_t(weights=None, num_classes=7).eval()
    ours = classifier("swin3d_t", width=1.0, num_classes=7).eval()
    state = theirs.state_dict()
    ours.fc.load_state_dict({name: state.pop(f"head.{name}") for name in ("weight", "bias")})
    ours.backbone.load_state_dict(state, strict=True)
    clip_BCTHW = torch.randn(1, 3, 16, 112, 112)
    with torch.no_grad():
        torch.testing.assert_close(ours(clip_BCTHW), theirs(clip_BCTHW), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", THEIRS)
def test_parameters_and_multiply_adds_are_those_that_torchvision_publishes(kind: str) -> None:
    _, weights, _, side = THEIRS[kind]
    published = weights.meta
    with torch.device("meta"):
        model = classifier(kind, width=1.0, num_classes=400).eval()
    assert sum(p.numel() for p in model.parameters()) == published["num_params"]
    giga = count_multiply_adds(model, size_pixels=side) / 1e9
    assert giga == pytest.approx(published["_ops"], abs=6e-4)


def test_the_channels_of_a_narrow_swins_heads_are_scaled_and_not_their_number() -> None:
    with torch.device("meta"):
        half = classifier("swin3d_t", width=0.5).backbone
    attention = half.get_submodule("features.4.0.attn")
    assert half.feature_dim == 384
    assert attention.num_heads == 12 and attention.qkv.in_features == 192  # type: ignore[union-attr]


@pytest.mark.parametrize(("training", "num_left_out"), [(False, 0), (True, 1)])
def test_a_block_of_swin_is_left_out_of_some_clips_in_training_alone(
    training: bool, num_left_out: int
) -> None:
    torch.manual_seed(0)
    backbone = classifier("swin3d_t").backbone.eval()
    last = backbone.get_submodule("features.6.1")
    branch = last.get_submodule("stochastic_depth").train(training)
    x_BTHWC = torch.randn(64, 1, 1, 1, backbone.feature_dim)
    out = branch(x_BTHWC)
    is_zero_B = (out == 0).flatten(1).all(1)
    assert bool(is_zero_B.any()) == bool(num_left_out)
    kept = out[~is_zero_B] * (0.9 if training else 1.0)
    torch.testing.assert_close(kept, x_BTHWC[~is_zero_B])
