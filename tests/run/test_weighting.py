import itertools

import pytest
import torch

from kdbatch.run.weighting import WEIGHTINGS, ae_kd, project_to_capped_simplex


def _by_grid(gradient_MK: torch.Tensor, cap: float, steps: int) -> float:
    """The smallest norm over a grid of the capped simplex."""
    best = float("inf")
    for parts in itertools.product(range(steps + 1), repeat=len(gradient_MK) - 1):
        w = [p / steps for p in parts]
        w.append(1 - sum(w))
        if all(-1e-9 <= x <= cap + 1e-9 for x in w):
            best = min(best, float((torch.tensor(w, dtype=torch.float64) @ gradient_MK).norm()))
    return best


@pytest.mark.parametrize("num_teachers", [2, 3])
@pytest.mark.parametrize("cap", [0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_ae_kd_is_no_worse_than_any_grid_point(num_teachers: int, cap: float, seed: int) -> None:
    gradient_MK = torch.randn(num_teachers, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradient_MK[0] *= 3
    weight_M = ae_kd(gradient_MK, max_weight=cap)
    norm = float((weight_M @ gradient_MK).norm())
    grid = _by_grid(gradient_MK, cap, 400 if num_teachers == 2 else 30)
    assert norm <= grid + 1e-6
    assert float(weight_M.sum()) == pytest.approx(1) and weight_M.min() >= 0 and weight_M.max() <= cap + 1e-9


@pytest.mark.parametrize("num_teachers", [1, 2, 3, 5])
@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_a_cap_of_one_over_m_leaves_equal_weights(name: str, num_teachers: int) -> None:
    gradient_MK = torch.randn(num_teachers, 5, generator=torch.Generator().manual_seed(1))
    weight_M = WEIGHTINGS[name](gradient_MK, max_weight=1 / num_teachers)
    assert torch.allclose(weight_M, torch.full((num_teachers,), 1 / num_teachers, dtype=torch.float64))


def test_equal_gradients_get_equal_weights_and_never_nan() -> None:
    gradient_MK = torch.randn(1, 5, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    assert ae_kd(gradient_MK, max_weight=0.6).tolist() == [0.5, 0.5]
    assert ae_kd(torch.zeros(3, 5), max_weight=0.6).isfinite().all()


def test_the_projection_is_the_nearest_point() -> None:
    point = torch.tensor([0.9, 0.3, -0.2], dtype=torch.float64)
    got = project_to_capped_simplex(point, 0.6)
    assert got.tolist() == pytest.approx([0.6, 0.4, 0.0], abs=1e-9)
