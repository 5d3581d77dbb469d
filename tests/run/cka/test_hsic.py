from itertools import combinations

import numpy as np
import pytest
import torch
from support.slow_cka import hsic_1, slow_cka
from torch import Tensor

from kdbatch.run.cka.gram_hooks import centred_gram
from kdbatch.run.cka.hsic import CkaAccumulator, u_centred


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    accumulator = CkaAccumulator()
    for x_np, y_np in batches:
        accumulator.add(*(u_centred(centred_gram(f)[None]) for f in (x_np, y_np)))
    return float(accumulator.result()[0, 0])


def test_u_centring_gives_the_unbiased_hsic_to_twelve_digits():
    x_np, y_np = (
        torch.randn(17, 30, dtype=torch.float64) + 3,
        torch.randn(17, 9, dtype=torch.float64),
    )
    y_np[:, :5] += x_np[:, :5]
    grams = [x @ x.T for x in (x_np, y_np)]
    a, b = (u_centred(gram[None])[0] for gram in grams)
    assert float(a @ b) / (17 * 14) == pytest.approx(hsic_1(*(g.numpy() for g in grams)), rel=1e-12)


def test_rows_of_a_u_centred_gram_sum_to_zero():
    x_np = torch.randn(9, 20, dtype=torch.float64)
    centred_nn = u_centred((x_np @ x_np.T)[None]).reshape(9, 9)
    assert centred_nn.diagonal().abs().max() == 0
    assert centred_nn.sum(0).abs().max() < 1e-12


@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("num_columns", [3, 20_000])
def test_large_means_leave_six_digits(mean, num_columns):
    """Means of a hundred standard deviations; features that are a few shared directions and noise,
    as METHODS' measurements have it.
    """
    shared_n4, batches = [torch.randn(24, 4) for _ in range(2)], []
    for s_n4 in shared_n4:
        pair = [
            s_n4 @ torch.randn(4, num_columns) + 0.5 * torch.randn(24, num_columns) + mean
            for _ in range(2)
        ]
        batches.append((pair[0], pair[1]))
    expected = slow_cka([([x], [y]) for x, y in batches])[0, 0]
    assert 0.05 < expected < 1.01
    assert cka(*batches) == pytest.approx(expected, abs=1e-6)


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


def test_all_batches_of_four_give_the_cka_of_all_clips_at_once():
    """HSIC_1 is a U-statistic: its mean over all subsets of one size is its value on the whole."""
    x_np = torch.randn(9, 6)
    y_np = x_np @ torch.randn(6, 6) + torch.randn(9, 6)
    parts = [list(p) for p in combinations(range(9), 4)]
    assert cka(*((x_np[p], y_np[p]) for p in parts)) == pytest.approx(cka((x_np, y_np)), abs=1e-6)


def test_small_batches_agree_with_one_large_batch_in_expectation():
    x_np = torch.randn(64, 6)
    y_np = x_np @ torch.randn(6, 6) + torch.randn(64, 6)
    parts = [part for _ in range(300) for part in torch.randperm(64).split(8)]
    assert cka(*((x_np[p], y_np[p]) for p in parts)) == pytest.approx(cka((x_np, y_np)), abs=0.02)


@pytest.mark.parametrize("num_clips", [7, 11, 13, 32])
def test_clips_that_are_all_alike_are_no_signal_however_they_are_rounded(num_clips):
    """The mean of seven equal numbers is not that number in single precision."""
    same_np = (50 * torch.rand(1, 5000)).expand(num_clips, 5000).contiguous()
    assert not u_centred(centred_gram(same_np)[None]).any()
    assert cka((same_np, torch.randn(num_clips, 30))) == 0.0


def test_what_is_nearly_alike_is_still_a_signal():
    x_np = torch.randn(16, 200)
    assert cka((x_np, 100 + 1e-2 * x_np)) == pytest.approx(1.0, abs=1e-3)
    assert cka((torch.randn(4, 100_000), torch.randn(4, 100_000))) != 0.0
