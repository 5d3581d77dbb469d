from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdbatch.run.cka import CkaAccumulator, compute_cka, u_centred
from kdbatch.run.hooks import centred_gram
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.errors import UserError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


def hsic_1(k_nn: np.ndarray, l_nn: np.ndarray) -> float:
    """Song et al. 2012, eq. 5, term by term."""
    n = len(k_nn)
    k_nn, l_nn = (g - np.diag(np.diag(g)) for g in (k_nn, l_nn))
    terms = np.trace(k_nn @ l_nn) + k_nn.sum() * l_nn.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k_nn @ l_nn).sum()
    return terms / (n * (n - 3))


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    accumulator = CkaAccumulator()
    for x_np, y_np in batches:
        accumulator.add(*(u_centred(centred_gram(f)[None]) for f in (x_np, y_np)))
    return float(accumulator.result()[0, 0])


class LoudNet(nn.Module):
    """Two maps with means of a hundred times their spread."""

    def __init__(self, num_channels: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, num_channels, 3)
        self.second = nn.Conv3d(num_channels, 5, 1)
        nn.init.constant_(self.first.bias, 100.0)
        self.num_calls = 0

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        self.num_calls += 1
        return self.second(self.first(clip_BCTHW))

    def maps(self, clip_BCTHW: Tensor) -> list[np.ndarray]:
        """What the hooks see, in double precision and centred."""
        first = self.first(clip_BCTHW)
        maps = [m.detach().flatten(1).double().numpy() for m in (first, self.second(first))]
        return [x - x.mean(0) for x in maps]


def clips(num_clips: int = 12) -> Tensor:
    return torch.randn(num_clips, 3, 4, 10, 10)


def test_u_centring_gives_the_unbiased_hsic_to_twelve_digits():
    x_np, y_np = torch.randn(17, 30, dtype=torch.float64) + 3, torch.randn(17, 9, dtype=torch.float64)
    y_np[:, :5] += x_np[:, :5]
    grams = [x @ x.T for x in (x_np, y_np)]
    a, b = (u_centred(gram[None])[0] for gram in grams)
    assert float(a @ b) / (17 * 14) == pytest.approx(hsic_1(*(g.numpy() for g in grams)), rel=1e-12)


def test_rows_of_a_u_centred_gram_sum_to_zero():
    x_np = torch.randn(9, 20, dtype=torch.float64)
    centred_nn = u_centred((x_np @ x_np.T)[None]).reshape(9, 9)
    assert centred_nn.diagonal().abs().max() == 0
    assert centred_nn.sum(0).abs().max() < 1e-12


def test_a_layer_is_like_itself_turned_and_scaled():
    x_np = torch.randn(32, 40)
    turn_pp = torch.linalg.qr(torch.randn(40, 40)).Q
    assert cka((x_np, x_np)) == pytest.approx(1.0, abs=1e-12)
    assert cka((x_np, 7.5 * x_np @ turn_pp + 3)) == pytest.approx(1.0, abs=1e-6)


def test_unrelated_features_are_unlike_however_wide_they_are():
    values = [cka((torch.randn(64, 4096), torch.randn(64, 4096))) for _ in range(10)]
    assert abs(np.mean(values)) < 0.01  # the biased estimator says 0.985


def test_shuffled_clips_are_unlike_on_average():
    x_np = torch.randn(32, 3)
    y_np = x_np + 0.1 * torch.randn(32, 3)
    assert cka((x_np, y_np)) > 0.9
    assert abs(np.mean([cka((x_np, y_np[torch.randperm(32)])) for _ in range(300)])) < 0.02


def test_small_batches_agree_with_one_large_batch_in_expectation():
    x_np = torch.randn(64, 6)
    y_np = x_np @ torch.randn(6, 6) + torch.randn(64, 6)
    parts = [part for _ in range(300) for part in torch.randperm(64).split(8)]
    assert cka(*((x_np[p], y_np[p]) for p in parts)) == pytest.approx(cka((x_np, y_np)), abs=0.02)


@pytest.mark.parametrize("same", [True, False])
def test_a_map_equals_double_precision_arithmetic_on_maps_with_large_means(same):
    a = LoudNet()
    b = a if same else LoudNet(4)
    batches = [clips(), clips()]
    result = compute_cka(a, None if same else b, batches, layers="act")
    seen = [([m @ m.T for m in a.maps(x)], [m @ m.T for m in b.maps(x)]) for x in batches]
    cross = sum(np.array([[hsic_1(k, m) for m in second] for k in first]) for first, second in seen)
    own_a = sum(np.array([hsic_1(k, k) for k in first]) for first, _ in seen)
    own_b = sum(np.array([hsic_1(m, m) for m in second]) for _, second in seen)
    np.testing.assert_allclose(result.value_LM, cross / np.sqrt(np.outer(own_a, own_b)), rtol=0, atol=1e-6)
    assert result.num_clips == 24


def test_a_self_map_runs_the_model_once_per_batch_and_is_symmetric():
    model = LoudNet()
    result = compute_cka(model, None, [clips(), clips(), clips()], layers="all")
    assert model.num_calls == 3
    assert np.array_equal(result.value_LM, result.value_LM.T)
    np.testing.assert_allclose(np.diag(result.value_LM), 1.0, atol=1e-12)


def test_two_networks_make_a_map_of_their_layers():
    a, b = (
        Classifier(build_backbone(Backbone(kind=kind, width=0.05)), num_classes=3, dropout=0.0) for kind in ("r21d_10", "shufflenet_2x")
    )
    result = compute_cka(a, b, [torch.randn(6, 3, 4, 24, 24)], layers="res")
    assert result.value_LM.shape == (len(result.layers_a), len(result.layers_b)) == (6, 19)
    assert result.value_LM.dtype == np.float64
    assert result.kinds_a == ("relu", "residual", "residual", "residual", "residual", "pool")
    assert result.kinds_b == ("relu", "pool", *["residual"] * 16, "pool")
    assert result.pc1_share_L.shape == (6,)


def test_the_order_of_the_two_networks_only_turns_the_map():
    a, b, batch = LoudNet(), LoudNet(4), clips()
    there, back = compute_cka(a, b, [batch], layers="act"), compute_cka(b, a, [batch], layers="act")
    np.testing.assert_allclose(there.value_LM, back.value_LM.T, atol=1e-12)


def test_a_dead_layer_is_like_nothing():
    model = nn.Sequential(nn.Conv3d(3, 2, 1), nn.ReLU())
    nn.init.constant_(model[0].bias, -1e6)
    value_LM = compute_cka(model, None, [clips()], layers="act").value_LM
    assert value_LM.tolist() == [[pytest.approx(1.0), 0.0], [0.0, 0.0]]


def test_one_loud_direction_is_found_as_the_first_component_and_taken_off():
    model = nn.Sequential(*(nn.Conv3d(3, 3, 1, bias=False) for _ in range(3)))
    for layer in model:
        nn.init.dirac_(layer.weight)
        layer.weight.data += 0.2 * torch.randn_like(layer.weight)
    loud = torch.randn(16, 1, 1, 1, 1) * 20 + torch.randn(16, 3, 2, 4, 4)
    result = compute_cka(model, None, [loud], layers="act")
    assert result.value_LM.min() > 0.99
    assert result.pc1_share_L.min() > 0.95
    assert result.pc1_block_mass == pytest.approx(result.pc1_share_L.mean())
    assert all(result.deflated_LM[i, j] < result.value_LM[i, j] for i, j in pairwise(range(3)))
    quiet = compute_cka(model, None, [torch.randn(16, 3, 2, 4, 4)], layers="act")
    assert quiet.pc1_share_L.max() < 0.3


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
