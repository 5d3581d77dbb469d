import numpy as np
import pytest
import torch
from support.networks import LoudNet, noise
from support.slow_cka import slow_cka
from torch import Tensor

from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.cka.half_batches import NUM_HALVES, half_gram, jackknife_intervals, random_halves
from kdbatch.run.cka.hsic import CkaAccumulator, u_centred


@pytest.mark.parametrize("num_clips", [8, 15, 64])
def test_both_halves_of_every_cut_are_taken_and_no_clip_stands_in_both(num_clips):
    halves_Sm = random_halves(num_clips, rng=np.random.default_rng(0))
    assert halves_Sm.shape == (NUM_HALVES, num_clips // 2)
    for first, second in zip(halves_Sm[::2].tolist(), halves_Sm[1::2].tolist(), strict=True):
        assert len({*first, *second}) == 2 * (num_clips // 2) and max(*first, *second) < num_clips
    assert (
        len({tuple(half) for half in halves_Sm.tolist()}) > NUM_HALVES // 2
    )  # eight clips have 35 cuts, some come twice


def test_halves_too_small_for_the_unbiased_estimate_are_none():
    assert len(random_halves(7, rng=np.random.default_rng(0))) == 0
    assert jackknife_intervals({"mean_cka": 0.5}, []) == {}


def test_the_map_of_a_half_is_that_of_its_clips_alone():
    model, batches = LoudNet(offset=5.0), [noise(12, size_pixels=10) for _ in range(2)]
    halves_Sm = random_halves(12, rng=np.random.default_rng(1))[:3]
    result = compute_cka(model, None, batches, layers="act", halves_Sm=halves_Sm)
    for half_m, found in zip(halves_Sm, result.halves, strict=True):
        alone = [clips[half_m] for clips in batches]
        np.testing.assert_allclose(
            found.value_LM,
            slow_cka([(model.maps(x), model.maps(x)) for x in alone]),
            rtol=0,
            atol=1e-6,
        )
        expected = compute_cka(model, None, alone, layers="act").whole.dominant
        assert expected is not None and found.dominant is not None
        np.testing.assert_allclose(found.dominant.pc1_share_L, expected.pc1_share_L, atol=1e-6)
        np.testing.assert_allclose(found.dominant.deflated_LL, expected.deflated_LL, atol=1e-5)


def test_halves_tell_how_far_other_clips_would_move_a_number():
    """Against the spread over clips drawn anew, 200 times: both standard deviations are known to
    some 10 %.
    """
    measured = [_mean_cka(seed) for seed in range(200)]
    means, ours = (np.array(column) for column in zip(*measured, strict=True))
    assert np.sqrt(np.mean(ours**2)) == pytest.approx(means.std(), rel=0.3)


def test_an_interval_lies_around_its_number_and_widens_with_the_spread():
    narrow = jackknife_intervals({"a": 2.0, "z": 1.0}, [{"a": 1.9}, {"a": 2.3}])
    assert narrow == {
        "a_low": pytest.approx(2.0 - 1.96 * 0.2),
        "a_high": pytest.approx(2.0 + 1.96 * 0.2),
    }


def _mean_cka(seed: int) -> tuple[float, float]:
    """The mean similarity of three layers of two batches of 24 clips, and its standard deviation
    from halves.
    """
    torch.manual_seed(seed)
    batches = [_grams(24) for _ in range(2)]
    halves_Sm = random_halves(24, rng=np.random.default_rng(seed))
    of_halves = [
        _mean([half_gram(gram_Lnn, half_m) for gram_Lnn in batches]) for half_m in halves_Sm
    ]
    return _mean(batches), float(np.std(of_halves))


def _grams(num_clips: int) -> Tensor:
    """Grams of layers whose features overlap in part."""
    shared = torch.randn(num_clips, 3, dtype=torch.float64)
    layers = [
        torch.cat([shared, scale * torch.randn(num_clips, 6, dtype=torch.float64)], 1)
        for scale in (0.3, 0.7, 1.0)
    ]
    centred = [layer - layer.mean(0) for layer in layers]
    return torch.stack([layer @ layer.T for layer in centred])


def _mean(batches: list[Tensor]) -> float:
    sums = CkaAccumulator()
    for gram_Lnn in batches:
        sums.add(u_centred(gram_Lnn))
    return float(sums.result()[np.triu_indices(3, 1)].mean())
