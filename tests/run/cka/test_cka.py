import numpy as np
import pytest
import torch
from support.networks import LoudNet, classifier, noise
from support.operators import Operators
from support.slow_cka import slow_cka
from torch import nn

from kdbatch.base.errors import UserError
from kdbatch.bench.cka.parts import reference_map
from kdbatch.run.cka import gram_hooks
from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.cka.half_batches import random_halves


def clips(num_clips: int = 12) -> torch.Tensor:
    return noise(num_clips, size_pixels=10)


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("same", [True, False])
def test_a_map_equals_double_precision_arithmetic_on_maps_with_large_means(same, offset):
    a = LoudNet(offset=offset)
    b = a if same else LoudNet(4, offset=offset)
    batches = [clips(), clips()]
    result = compute_cka(a, None if same else b, batches, layers="act")
    expected_LM = slow_cka([(a.maps(x), b.maps(x)) for x in batches])
    np.testing.assert_allclose(result.whole.value_LM, expected_LM, rtol=0, atol=1e-6)
    assert result.num_clips == 24


def test_products_of_groups_of_columns_give_the_map_of_double_precision(monkeypatch):
    """As on a GPU; few numbers of a narrow network average their rounding less than many."""
    monkeypatch.setattr(gram_hooks, "gram_of_parts", gram_hooks.gram_of_groups)
    torch.manual_seed(0)
    model, batch = classifier("r21d_10").eval(), clips()
    found = compute_cka(model, None, [batch], layers="act").whole.value_LM
    np.testing.assert_allclose(found, reference_map(model, batch, layers="act"), rtol=0, atol=3e-7)


def test_no_batch_waits_for_the_device():
    halves_Sm = random_halves(12, rng=np.random.default_rng(0))[:2]

    def waits(num_batches: int) -> list[str]:
        with Operators() as operators:
            batches = [clips() for _ in range(num_batches)]
            compute_cka(LoudNet(), None, batches, layers="act", halves_Sm=halves_Sm)
        return operators.waits

    assert waits(3) == waits(1)


def test_four_clips_are_enough():
    a, batches = LoudNet(offset=1.0), [clips(4) for _ in range(3)]
    result = compute_cka(a, None, batches, layers="act")
    np.testing.assert_allclose(
        result.whole.value_LM,
        slow_cka([(a.maps(x), a.maps(x)) for x in batches]),
        rtol=0,
        atol=1e-6,
    )
    assert (
        result.whole.dominant is not None and result.whole.dominant.without_outliers_LL is None
    )  # three clips would be too few


def test_a_self_map_runs_the_model_once_per_batch_and_is_symmetric():
    model = LoudNet()
    result = compute_cka(model, None, [clips(), clips(), clips()], layers="all")
    assert model.num_calls == 3
    assert np.array_equal(result.whole.value_LM, result.whole.value_LM.T)
    np.testing.assert_allclose(np.diag(result.whole.value_LM), 1.0, atol=1e-12)


def test_two_networks_make_a_map_of_their_layers():
    result = compute_cka(
        classifier("r21d_10"), classifier("shufflenet_2x"), [noise(6)], layers="res"
    )
    assert result.whole.value_LM.shape == (len(result.layers_a), len(result.layers_b)) == (6, 19)
    assert result.whole.value_LM.dtype == np.float64
    assert result.kinds_a == ("relu", "residual", "residual", "residual", "residual", "pool")
    assert result.kinds_b == ("relu", "pool", *["residual"] * 16, "pool")
    assert result.whole.dominant is None


def test_the_order_of_the_two_networks_only_turns_the_map():
    a, b, batch = LoudNet(), LoudNet(4), clips()
    there, back = compute_cka(a, b, [batch], layers="act"), compute_cka(b, a, [batch], layers="act")
    np.testing.assert_allclose(there.whole.value_LM, back.whole.value_LM.T, atol=1e-12)


@pytest.mark.parametrize("num_clips", [12, 13])
@pytest.mark.parametrize("level", [0.0, 0.1])
def test_a_layer_with_the_same_output_for_every_clip_is_similar_to_nothing(num_clips, level):
    constant = nn.Conv3d(2, 5, 1)
    nn.init.zeros_(constant.weight)
    constant.bias = nn.Parameter(torch.full((5,), level))
    model = nn.Sequential(nn.Conv3d(3, 2, 1), constant)
    value_LM = compute_cka(model, None, [clips(num_clips)], layers="act").whole.value_LM
    assert value_LM.tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("broken", [0, 1])
def test_a_network_that_diverged_is_named_with_its_layer(value, broken):
    models = [LoudNet(), LoudNet()]
    nn.init.constant_(models[broken].second.weight, value)
    title = ("run ra", "run rb")[broken]
    with pytest.raises(UserError, match=f"{title}: layer second gives NaN.*lr"):
        compute_cka(
            models[0], models[1], [clips(), clips()], layers="act", titles=("run ra", "run rb")
        )


def test_a_layer_that_diverged_stops_a_self_map_before_its_components():
    model = LoudNet()
    nn.init.constant_(model.first.weight, float("nan"))
    with pytest.raises(UserError, match="the first network: layer first gives NaN"):
        compute_cka(model, None, [clips()], layers="act")


@pytest.mark.parametrize("num_clips", [1, 3])
def test_batches_too_small_for_the_unbiased_estimate_are_refused(num_clips):
    with pytest.raises(UserError, match=f"{num_clips} clips are too few"):
        compute_cka(LoudNet(), None, [clips(num_clips)], layers="act")


def test_no_batch_at_all_is_refused():
    with pytest.raises(UserError, match="no batch of clips"):
        compute_cka(LoudNet(), None, [], layers="act")


def test_batches_of_unequal_size_are_a_bug():
    with pytest.raises(AssertionError, match="batches of 8 and of 7 clips"):
        compute_cka(LoudNet(), None, [clips(8), clips(7)], layers="act")
