import subprocess
import sys

import pytest
import torch
from support.networks import classifier
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.models import BACKBONES, Classifier, VideoBackbone
from kdbatch.run.models.layers.factorised import TemporalConv
from kdbatch.run.models.multiply_adds import count_multiply_adds
from kdbatch.run.models.shufflenet import shuffle_channels
from kdbatch.vocab.backbones import BACKBONE_SPECS

CLIP = (1, 3, 16, 112, 112)
# kind: million parameters with 101 classes, last map
PUBLISHED = {
    "r21d_10": (14.42, (512, 2, 7, 7)),
    "r2plus1d_18": (31.35, (512, 2, 7, 7)),
    "shufflenet_2x": (3.80, (1920, 1, 4, 4)),
    "r3d_18": (33.22, (512, 2, 7, 7)),
    "c3d": (27.71, (512, 1, 4, 4)),
    "mobilenet3d": (2.48, (1280, 1, 4, 4)),
    "squeezenet3d": (1.89, (512, 1, 4, 4)),
    "swin3d_t": (27.93, (768, 8, 4, 4)),
}


def weightless(kind: str) -> Classifier:
    """On the meta device: shapes without numbers, so the published sizes cost nothing."""
    with torch.device("meta"):
        return classifier(kind, width=1.0, num_classes=101).eval()


def test_every_backbone_of_the_plan_can_be_built() -> None:
    assert BACKBONES.keys() == BACKBONE_SPECS.keys()


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_plan_knows_the_layers_that_a_feature_loss_may_name(kind: str) -> None:
    backbone = weightless(kind).backbone
    assert BACKBONE_SPECS[kind].layers == backbone.layer_names
    last, maps = backbone.forward_maps(torch.empty(CLIP, device="meta"), backbone.layer_names)
    assert {name: tuple(m.shape[1:]) for name, m in maps.items()} == map_shapes(kind)
    assert last is maps[backbone.layer_names[-1]]
    for name in backbone.layer_names:  # channels first: rows and columns are equal in number
        assert maps[name].shape[-1] == maps[name].shape[-2]


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_plan_knows_the_multiply_adds_of_a_clip(kind: str) -> None:
    num = count_multiply_adds(weightless(kind))
    assert num / 1e9 == pytest.approx(BACKBONE_SPECS[kind].gmac_per_clip, rel=1e-3)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_parameters_and_last_map_are_the_published_ones(kind: str) -> None:
    million, map_CTHW = PUBLISHED[kind]
    model, clip_BCTHW = weightless(kind), torch.empty(CLIP, device="meta")
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == million
    assert model.backbone.forward_features(clip_BCTHW).shape[1:] == map_CTHW
    assert model.backbone.feature_dim == map_CTHW[0]


def map_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """After each layer."""
    backbone = weightless(kind).backbone
    map_BCTHW, shapes = torch.empty(CLIP, device="meta"), {}
    for name in backbone.layer_names:
        map_BCTHW = backbone.get_submodule(name)(map_BCTHW)
        shape = tuple(map_BCTHW.shape[1:])
        shapes[name] = (shape[-1], *shape[:-1]) if name in backbone.token_names else shape
    return shapes


def test_shufflenets_maps_are_the_published_ones():
    assert map_shapes("shufflenet_2x") == {
        "conv1": (48, 16, 56, 56),
        "maxpool": (48, 8, 28, 28),
        "layer1": (480, 4, 14, 14),
        "layer2": (960, 2, 7, 7),
        "layer3": (1920, 1, 4, 4),
    }


def test_r21d_halves_its_map_from_the_second_stage_on():
    shapes = map_shapes("r21d_10")
    assert shapes["relu1"] == shapes["conv2"] == (64, 16, 56, 56)
    assert shapes["conv3"] == (128, 8, 28, 28)
    assert shapes["conv4"] == (256, 4, 14, 14)


def test_r21d_has_83_channels_inside_its_stem_and_the_names_of_released_weights():
    state = weightless("r21d_10").backbone.state_dict()
    assert state["conv1.spatial_conv.weight"].shape == (83, 3, 1, 7, 7)
    assert state["conv5.block1.downsampleconv.temporal_conv.weight"].shape == (512, 170, 1, 1, 1)
    assert {name.split(".")[2] for name in state if name.startswith("conv2.block1.")} == {
        "conv1",
        "bn1",
        "conv2",
        "bn2",
    }


@pytest.mark.parametrize(("stride", "padding", "kernel"), [(1, 1, 3), (2, 1, 3), (2, 0, 1)])
def test_a_temporal_convolution_is_pytorchs_own_3d_convolution(
    stride: int, padding: int, kernel: int
) -> None:
    torch.manual_seed(0)
    ours = TemporalConv(
        5, 4, (kernel, 1, 1), stride=(stride, 1, 1), padding=(padding, 0, 0), bias=False
    ).double()
    plain = nn.Conv3d(
        5, 4, (kernel, 1, 1), stride=(stride, 1, 1), padding=(padding, 0, 0), bias=False
    ).double()
    plain.load_state_dict(ours.state_dict())
    clip = torch.randn(2, 5, 7, 3, 6, dtype=torch.float64)
    found, expected = clip.clone().requires_grad_(), clip.clone().requires_grad_()
    out, reference = ours(found), plain(expected)
    weigh = torch.randn_like(reference)
    (out * weigh).sum().backward()
    (reference * weigh).sum().backward()
    assert out.shape == reference.shape and torch.allclose(out, reference, atol=1e-12)
    assert (
        found.grad is not None
        and expected.grad is not None
        and torch.allclose(found.grad, expected.grad, atol=1e-12)
    )
    assert torch.allclose(ours.weight.grad, plain.weight.grad, atol=1e-12)  # type: ignore[arg-type]


def test_first_shuffle_unit_is_grouped_at_48_channels_and_not_at_24():
    grouped, plain = (
        classifier("shufflenet_2x", width=width).backbone.state_dict()["layer1.0.conv1.weight"]
        for width in (1.0, 0.5)
    )
    assert grouped.shape[:2] == (120, 48 // 3)
    assert plain.shape[:2] == (60, 24)


def test_shuffle_takes_one_channel_of_each_group_in_turn():
    shuffled = shuffle_channels(torch.arange(6.0).reshape(1, 6, 1, 1, 1))
    assert shuffled.flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_a_halving_unit_puts_its_convolutions_before_the_pooled_input():
    unit = classifier("shufflenet_2x", width=0.25).backbone.get_submodule("layer1.0").eval()
    x_BCTHW = torch.rand(2, 12, 4, 6, 6)
    pooled = nn.functional.avg_pool3d(x_BCTHW, (2, 3, 3), stride=2, padding=(0, 1, 1))
    torch.testing.assert_close(unit(x_BCTHW)[:, -12:], pooled)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("width", [0.05, 0.125, 0.33])
def test_every_weight_of_a_narrow_network_learns(kind, width):
    model = classifier(kind, width=width, num_classes=5)
    model(torch.randn(2, 3, 8, 56, 56)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) < PUBLISHED[kind][0] * 1e6 * 0.2


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("shape", [(1, 16, 16), (5, 32, 24), (7, 57, 41), (12, 48, 48)])
def test_any_clip_size_gives_one_feature_vector(kind, shape):
    backbone = classifier(kind).backbone.eval()
    assert backbone.forward_pooled(torch.randn(2, 3, *shape)).shape == (2, backbone.feature_dim)


@pytest.mark.parametrize("kind", BACKBONES)
def test_weights_depend_on_the_seed_alone(kind):
    def weights(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in classifier(kind).parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("kind", BACKBONES)
def test_no_relu_overwrites_the_map_before_it(kind):
    assert not any(m.inplace for m in weightless(kind).modules() if isinstance(m, nn.ReLU))


@pytest.mark.parametrize("kind", BACKBONES)
def test_logits_are_linear_in_the_mean_of_the_last_map(kind):
    model = classifier(kind, num_classes=4).eval()
    clip_BCTHW = torch.randn(2, 3, 4, 32, 32)
    feature_BD = model.backbone.forward_features(clip_BCTHW).mean((2, 3, 4))
    torch.testing.assert_close(model(clip_BCTHW), feature_BD @ model.fc.weight.T + model.fc.bias)


def test_dropout_acts_in_training_only():
    model = classifier("r21d_10", dropout=0.5)
    for module in model.backbone.modules():
        module.training = False  # batch norm would differ too
    clip_BCTHW = torch.randn(2, 3, 4, 16, 16)
    assert not torch.equal(model(clip_BCTHW), model(clip_BCTHW))
    model.eval()
    assert torch.equal(model(clip_BCTHW), model(clip_BCTHW))


def test_declared_units_exist_and_come_in_order():
    for kind in BACKBONES:
        backbone: VideoBackbone = weightless(kind).backbone
        names = [name for name, _ in backbone.named_modules()]
        places = [
            names.index(name) for name in (*backbone.stem_names, *backbone.unit_names, "pool")
        ]
        assert places == sorted(places)


def test_an_unknown_backbone_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'r21d_10'"):
        classifier("r21d_1")


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf")])
def test_a_width_that_leaves_no_network_is_refused(width):
    with pytest.raises(UserError, match="^width: found .* Write 0.005 to 32"):
        classifier("r21d_10", width=width)


def test_torchvision_waits_until_its_network_is_asked_for():
    program = "import sys, kdbatch.run.models; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
