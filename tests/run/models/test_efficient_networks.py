"""C3D, MobileNetV2 and SqueezeNet in the layout of Efficient-3DCNNs: names, shapes, sizes."""

import pytest
import torch
from support.networks import classifier
from torch import Tensor, nn

from kdbatch.run.models.layers.fitting_pool import FittingMaxPool
from kdbatch.run.models.multiply_adds import count_multiply_adds

# Multiply-adds of a clip of 3x16x112x112 by the formula of a convolution, layer by layer.
FIRST_CONVS = {"c3d": 64 * 3 * 27 * 16 * 112 * 112, "mobilenet3d": 32 * 3 * 27 * 16 * 56 * 56}


def state_of(kind: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        return classifier(kind, width=1.0).backbone.state_dict()


def num_parameters(kind: str) -> int:
    """The number of parameters of the backbone."""
    with torch.device("meta"):
        return sum(p.numel() for p in classifier(kind, width=1.0).backbone.parameters())


def linear(num_in: int, num_out: int) -> int:
    return num_in * num_out + num_out


def test_c3d_has_the_size_that_users_of_its_source_print() -> None:
    """80,459,480 with 600 classes: okankop/Efficient-3DCNNs issue 28. There, two layers of 4096
    neurons follow the map of 512 x 1 x 4 x 4.
    """
    head = linear(512 * 16, 4096) + linear(4096, 4096) + linear(4096, 600)
    assert num_parameters("c3d") + head == 80_459_480


@pytest.mark.parametrize(
    ("kind", "feature_dim", "num_classes", "million", "giga"),
    [
        ("c3d", 512, 101, 27.7, None),
        ("mobilenet3d", 1280, 600, 3.1, 1.1),
        ("squeezenet3d", 512, 101, 1.9, 1.8),
        ("shufflenet_2x", 1920, 600, 4.8, 1.1),
    ],
)
def test_sizes_are_those_of_the_benchmark(
    kind: str, feature_dim: int, num_classes: int, million: float, giga: float | None
) -> None:
    """arXiv:2306.06010. Its giga operations are twice the multiply-adds; its C3D has another first
    pool (77.2), and its ShuffleNet counts 4.6 M.
    """
    num = num_parameters(kind) + linear(feature_dim, num_classes)
    assert num / 1e6 == pytest.approx(million, abs=0.051)
    with torch.device("meta"):
        model = classifier(kind, width=1.0).eval()
    if giga:
        assert 2 * count_multiply_adds(model) / 1e9 == pytest.approx(giga, abs=0.08)


@pytest.mark.parametrize("kind", FIRST_CONVS)
def test_multiply_adds_are_counted_by_the_formula_of_a_convolution(kind: str) -> None:
    with torch.device("meta"):
        backbone = classifier(kind, width=1.0).backbone.eval()
    first = next(m for m in backbone.modules() if isinstance(m, nn.Conv3d))
    assert count_multiply_adds(first) == FIRST_CONVS[kind]


def test_names_and_shapes_are_those_of_the_source() -> None:
    c3d, mobile, squeeze = map(state_of, ("c3d", "mobilenet3d", "squeezenet3d"))
    assert {name.split(".")[0] for name in c3d} == {f"group{i}" for i in range(1, 6)}
    assert c3d["group4.3.weight"].shape == (512, 512, 3, 3, 3)
    assert c3d["group5.4.running_mean"].shape == (512,)
    assert {name.split(".")[1] for name in mobile} == {str(i) for i in range(19)}
    assert mobile["features.0.0.weight"].shape == (32, 3, 3, 3, 3)
    assert mobile["features.1.conv.0.weight"].shape == (32, 1, 3, 3, 3)
    assert mobile["features.2.conv.6.weight"].shape == (24, 96, 1, 1, 1)
    assert mobile["features.17.conv.7.running_var"].shape == (320,)
    assert mobile["features.18.0.weight"].shape == (1280, 320, 1, 1, 1)
    fires = {name.split(".")[1] for name in squeeze if "squeeze." in name}
    assert fires == {"4", "5", "7", "8", "10", "11", "13", "14"}
    assert squeeze["features.0.bias"].shape == (64,)
    assert squeeze["features.13.squeeze.weight"].shape == (64, 384, 1, 1, 1)
    assert squeeze["features.14.expand3x3.weight"].shape == (256, 64, 3, 3, 3)
    assert squeeze["features.14.expand1x1_bn.bias"].shape == (256,)


def test_a_pool_is_pytorchs_own_where_its_window_fits_and_is_cut_down_elsewhere() -> None:
    pool, own = FittingMaxPool((2, 2, 2), stride=(2, 2, 2), padding=(0, 0, 0)), nn.MaxPool3d(2)
    large, flat = torch.randn(2, 3, 5, 6, 7), torch.randn(2, 3, 1, 6, 1)
    assert torch.equal(pool(large), own(large))
    assert torch.equal(pool(flat), nn.MaxPool3d((1, 2, 1))(flat))
