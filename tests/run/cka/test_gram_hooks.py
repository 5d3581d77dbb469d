import pytest
import torch
from support.networks import classifier, noise
from support.operators import Operators
from torch import nn

from kdbatch.run.cka.gram_hooks import (
    GROUP_COLUMNS,
    LayerCapture,
    centred_gram,
    exact_products,
    gram_of_groups,
)
from kdbatch.run.models import BACKBONES

NUM_LAYERS = {  # res, act, all
    "r21d_10": (6, 69, 92),
    "r2plus1d_18": (10, 108, 159),
    "shufflenet_2x": (19, 131, 158),
    "r3d_18": (10, 57, 92),
    "c3d": (6, 28, 37),
    "mobilenet3d": (19, 149, 178),
    "squeezenet3d": (11, 67, 82),
    "swin3d_t": (14, 66, 116),
}
KINDS = {"swin3d_t": {"conv", "ln", "attention", "gelu", "residual"}}


def clips(num_clips: int = 5) -> torch.Tensor:
    return noise(num_clips)


@pytest.mark.parametrize("kind", NUM_LAYERS)
def test_each_layer_set_has_its_number_of_layers(kind):
    for layers, num_layers in zip(("res", "act", "all"), NUM_LAYERS[kind], strict=True):
        with LayerCapture(classifier(kind), layers=layers) as capture:
            assert capture.grams(clips()).shape == (num_layers, 5, 5)
        assert len(set(capture.layers)) == len(capture.kinds) == num_layers


@pytest.mark.parametrize("kind", BACKBONES)
def test_one_merge_per_unit_has_the_kind_residual(kind):
    model = classifier(kind)
    with LayerCapture(model, layers="act") as capture:
        capture.grams(clips())
    merges = [
        name
        for name, layer_kind in zip(capture.layers, capture.kinds, strict=True)
        if layer_kind == "residual"
    ]
    assert len(merges) == len(model.backbone.unit_names)
    for merge, unit in zip(merges, model.backbone.unit_names, strict=True):
        assert f"{merge}.".startswith(f"{unit}.")
    assert set(capture.kinds) == KINDS.get(kind, {"conv", "bn", "relu", "residual"})


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_merges_of_act_are_the_units_of_res(kind):
    model, clip_BCTHW = classifier(kind), clips()
    with LayerCapture(model, layers="res") as res, LayerCapture(model, layers="act") as act:
        grams = {
            layers: capture.grams(clip_BCTHW) for layers, capture in (("res", res), ("act", act))
        }
    units = grams["res"][[k == "residual" for k in res.kinds]]
    merges = grams["act"][[k == "residual" for k in act.kinds]]
    assert torch.equal(units, merges)


def test_layers_stand_in_the_order_in_which_they_return():
    with LayerCapture(classifier("r21d_10"), layers="all") as capture:
        capture.grams(clips())
    assert capture.layers[:6] == (
        "conv1.spatial_conv",
        "conv1.bn",
        "conv1.relu",
        "conv1.temporal_conv",
        "conv1",
        "bn1",
    )
    assert capture.layers[-3:] == ("pool", "fc", "Classifier")
    assert capture.layers.index("conv2.block1.outrelu") + 1 == capture.layers.index("conv2.block1")


def test_a_relu_that_is_called_twice_is_two_layers():
    with LayerCapture(classifier("shufflenet_2x"), layers="act") as capture:
        gram_Lnn = capture.grams(clips())
    first, second = (capture.layers.index(f"layer1.0.relu#{k}") for k in (1, 2))
    assert first < second
    assert not torch.allclose(gram_Lnn[first], gram_Lnn[second])


def test_an_in_place_relu_cannot_change_what_was_seen_before_it():
    def network(*, inplace: bool) -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.ReLU(inplace=inplace))

    clip_BCTHW, grams = clips(), []
    for inplace in (True, False):
        with LayerCapture(network(inplace=inplace), layers="act") as capture:
            grams.append(capture.grams(clip_BCTHW))
    assert torch.equal(*grams)
    assert not torch.allclose(grams[0][1], grams[0][2])


def test_the_model_is_left_as_it_was_found():
    model = classifier("shufflenet_2x").train()
    with LayerCapture(model, layers="all") as capture:
        assert not any(m.training for m in model.modules())
        capture.grams(clips())
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


def test_statistics_of_batch_norm_do_not_move():
    model = classifier("r21d_10").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with LayerCapture(model, layers="res") as capture:
        capture.grams(clips())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_a_gram_equals_that_of_centred_columns_in_double_precision(memory_format):
    map_BCTHW = (torch.randn(6, 16, 8, 28, 28) + 100).to(
        memory_format=memory_format
    )  # more columns than one chunk
    x_np = map_BCTHW.flatten(1).double()
    x_np -= x_np.mean(0)
    torch.testing.assert_close(centred_gram(map_BCTHW), x_np @ x_np.T, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(
    "num_columns", [1, 300, 4096, 5003, 83 * 2 * 7 * 7, GROUP_COLUMNS + 4099, 3 * GROUP_COLUMNS]
)
def test_a_gram_of_groups_of_columns_equals_that_in_double_precision(num_columns):
    """One part, equal parts, parts filled up with zeros (of 5003, a prime), and several groups."""
    x_np = torch.randn(6, num_columns) + 100
    found_nn = gram_of_groups(x_np)
    centred_np = x_np.double() - x_np.double().mean(0)
    torch.testing.assert_close(found_nn, centred_np @ centred_np.T, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(
    ("num_columns", "groups"), [(4096, 1), (2 * GROUP_COLUMNS, 2), (83 * 4 * 56 * 56, 4)]
)
def test_a_group_of_columns_takes_four_kernels_however_many_parts_it_has(num_columns, groups):
    x_np = torch.empty(4, num_columns, device="meta")
    with Operators() as operators:
        gram_of_groups(x_np)
    views = {"split", "view", "transpose", "expand", "_unsafe_view", "_reshape_alias"}
    kernels = [name for name in operators.names if name not in views]
    joined = ["stack", "sum"] if groups > 1 else []
    assert sorted(kernels) == sorted(groups * ["mean", "sub", "bmm", "sum"] + joined)


def test_products_stay_in_single_precision_under_autocast():
    map_BC = torch.randn(6, 300)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram_nn = centred_gram(map_BC)
    assert torch.equal(gram_nn, centred_gram(map_BC))


def test_products_are_exact_inside_and_as_set_outside():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_products():
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
