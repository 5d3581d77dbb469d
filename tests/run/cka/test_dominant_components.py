from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.cka.dominant_components import (
    DominantComponents,
    remove_first_component,
    without_outliers,
)
from kdbatch.run.cka.gram_hooks import centred_gram
from kdbatch.run.cka.hsic import CkaAccumulator, u_centred


def chain() -> nn.Sequential:
    """Three layers, each nearly its input."""
    layers = [nn.Conv3d(3, 3, 1, bias=False) for _ in range(3)]
    for layer in layers:
        nn.init.dirac_(layer.weight)
        layer.weight.data += 0.2 * torch.randn_like(layer.weight)
    return nn.Sequential(*layers)


def map_and_dominant(model: nn.Module, *batches: Tensor) -> tuple[np.ndarray, DominantComponents]:
    result = compute_cka(model, None, batches, layers="act")
    assert result.whole.dominant is not None
    return result.whole.value_LM, result.whole.dominant


def test_one_loud_direction_is_found_as_the_first_component_and_taken_off():
    model = chain()
    value_LL, loud = map_and_dominant(
        model, torch.randn(16, 1, 1, 1, 1) * 20 + torch.randn(16, 3, 2, 4, 4)
    )
    assert value_LL.min() > 0.99
    assert loud.pc1_share_L.min() > 0.95
    assert loud.pc1_block_mass == pytest.approx(loud.pc1_share_L.mean())
    assert all(loud.deflated_LL[i, j] < value_LL[i, j] for i, j in pairwise(range(3)))
    _, even = map_and_dominant(model, torch.randn(16, 3, 2, 4, 4))
    assert even.pc1_share_L.max() < 0.3


def test_layers_without_a_component_in_common_have_no_block_mass():
    turned = [torch.linalg.qr(torch.randn(12, 12)).Q for _ in range(2)]
    spectra = remove_first_component(
        torch.stack([q @ torch.diag(torch.arange(12.0)) @ q.T for q in turned]).double()
    )
    assert float(spectra.vector_Ln[0] @ spectra.vector_Ln[1]) ** 2 < 0.9
    constant = nn.Conv3d(2, 2, 1)
    nn.init.zeros_(constant.weight)
    two = nn.Sequential(nn.Conv3d(3, 2, 1), constant)
    assert map_and_dominant(two, torch.randn(8, 3, 2, 4, 4))[1].pc1_block_mass == 0.0


def test_the_first_component_is_the_one_that_an_eigen_decomposition_finds():
    gram_Lnn = torch.stack(
        [centred_gram(torch.randn(10, 40) + loud * torch.randn(10, 1)) for loud in (0.0, 1.0, 30.0)]
    )
    # Products in single precision are symmetric on some processors only, and eigh reads one half.
    gram_Lnn = (gram_Lnn + gram_Lnn.mT) / 2
    split = remove_first_component(gram_Lnn)
    value_Ln, vector_Lnn = torch.linalg.eigh(gram_Lnn)
    torch.testing.assert_close(
        (split.vector_Ln * vector_Lnn[:, :, -1]).sum(1).square(), torch.ones(3, dtype=torch.float64)
    )
    torch.testing.assert_close(split.share_L, value_Ln[:, -1] / value_Ln.sum(1))
    rest_Ln = value_Ln.clone()
    rest_Ln[:, -1] = 0
    torch.testing.assert_close(
        torch.linalg.eigvalsh(split.rest_Lnn),
        rest_Ln.sort().values,
        rtol=1e-9,
        atol=1e-9 * float(value_Ln.max()),
    )


def test_two_equal_components_are_split_without_harm():
    split = remove_first_component(
        torch.diag(torch.tensor([3.0, 3.0, 1.0, 0.0], dtype=torch.float64))[None]
    )
    assert float(split.share_L) == pytest.approx(3 / 7)
    assert float(split.rest_Lnn.diagonal(dim1=1, dim2=2).sum()) == pytest.approx(4.0)


def test_the_loudest_clips_go_and_the_map_is_that_of_the_others():
    """Two of 40 clips are very loud and make three unlike layers alike; without them the map is
    that of the 38.
    """
    clip_BCTHW = torch.randn(40, 3, 2, 4, 4)
    clip_BCTHW[[7, 30]] *= 60
    model = nn.Sequential(nn.Conv3d(3, 3, 1), nn.ReLU(), nn.Conv3d(3, 3, (1, 4, 4)))
    value_LL, drivers = map_and_dominant(model, clip_BCTHW)
    others = [i for i in range(40) if i not in (7, 30)]
    expected_LL, _ = map_and_dominant(model, clip_BCTHW[others])
    assert drivers.without_outliers_LL is not None
    np.testing.assert_allclose(drivers.without_outliers_LL, expected_LL, atol=1e-5)
    assert value_LL[0, 1] > expected_LL[0, 1] + 0.05


@pytest.mark.parametrize(("num_clips", "num_loud"), [(4, 0), (5, 1), (16, 1), (64, 3), (256, 12)])
def test_five_percent_are_loud_and_four_clips_stay(num_clips, num_loud):
    gram_Lnn = torch.diag_embed(torch.rand(2, num_clips))
    quiet = without_outliers(gram_Lnn).tolist()
    assert len(quiet) == num_clips - num_loud
    assert quiet == sorted(quiet)
    loudness_n = (gram_Lnn.diagonal(dim1=1, dim2=2) / gram_Lnn.sum((1, 2))[:, None]).sum(0)
    gone = sorted(set(range(num_clips)) - set(quiet))
    assert not gone or loudness_n[gone].min() >= loudness_n[quiet].max()


def test_a_layer_without_signal_has_no_say_in_which_clips_are_loud():
    gram_nn = centred_gram(torch.randn(20, 30))
    assert (
        without_outliers(torch.stack([gram_nn, torch.zeros(20, 20)])).tolist()
        == without_outliers(gram_nn[None]).tolist()
    )


def test_taking_clips_off_a_centred_gram_needs_no_new_centring():
    x_np, kept = torch.randn(12, 30) + 5, torch.arange(9)
    sums = [CkaAccumulator(), CkaAccumulator()]
    y_np = x_np[:, :10] + torch.randn(12, 10)
    sums[0].add(*(u_centred(centred_gram(f)[None][:, kept][:, :, kept]) for f in (x_np, y_np)))
    sums[1].add(*(u_centred(centred_gram(f[kept])[None]) for f in (x_np, y_np)))
    assert sums[0].result()[0, 0] == pytest.approx(sums[1].result()[0, 0], abs=1e-6)
