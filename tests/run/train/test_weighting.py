import itertools
from typing import TypedDict

import pytest
import torch
from torch import Tensor

from kdbatch.run.train.weighting import WEIGHTINGS, ae_kd, ca_mkd, min_norm_weights
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS


class Arguments(TypedDict):
    """The tensors that a weighting is called with."""

    gradient_MBK: Tensor
    teacher_MBK: Tensor
    label_B: Tensor


def _arguments(
    num_teachers: int, *, seed: int, num_clips: int = 6, num_classes: int = 7
) -> Arguments:
    rng = torch.Generator().manual_seed(seed)
    gradient_MBK, teacher_MBK = torch.randn(
        2, num_teachers, num_clips, num_classes, generator=rng, dtype=torch.float64
    )
    gradient_MBK[0] *= 3
    return {
        "gradient_MBK": gradient_MBK,
        "teacher_MBK": teacher_MBK,
        "label_B": torch.arange(num_clips) % num_classes,
    }


def _norm_by_grid(gradient_MK: Tensor, cap: float, steps: int) -> float:
    """The smallest norm over a grid of the capped simplex."""
    best = float("inf")
    for parts in itertools.product(range(steps + 1), repeat=len(gradient_MK) - 1):
        w = [p / steps for p in parts]
        w.append(1 - sum(w))
        if all(-1e-9 <= x <= cap + 1e-9 for x in w):
            best = min(best, float((torch.tensor(w, dtype=torch.float64) @ gradient_MK).norm()))
    return best


def _by_projected_gradient(gram_MM: Tensor, cap: float) -> Tensor:
    """Projected gradient descent until it converges; the projection is found by bisection."""
    weight_M = torch.full((len(gram_MM),), 1 / len(gram_MM), dtype=torch.float64)
    for _ in range(4000):
        point_M = weight_M - gram_MM @ weight_M / gram_MM.trace()
        low, high = point_M.min() - 1, point_M.max()
        for _ in range(55):
            middle = (low + high) / 2
            if (point_M - middle).clamp(0, cap).sum() > 1:
                low = middle
            else:
                high = middle
        moved_M = (point_M - low).clamp(0, cap)
        if (moved_M - weight_M).abs().max() < 1e-13:
            break
        weight_M = moved_M
    return weight_M


@pytest.mark.parametrize("num_teachers", [2, 3])
@pytest.mark.parametrize("cap", [0.6, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_ae_kd_is_no_worse_than_any_grid_point(num_teachers: int, cap: float, seed: int) -> None:
    given = _arguments(num_teachers, seed=seed)
    weight_M = ae_kd(**given, max_weight=cap)[:, 0]
    gradient_MK = given["gradient_MBK"].mean(1)
    grid = _norm_by_grid(gradient_MK, cap, 400 if num_teachers == 2 else 30)
    assert float((weight_M @ gradient_MK).norm()) <= grid + 1e-9
    assert float(weight_M.sum()) == pytest.approx(1)
    assert weight_M.min() >= 0 and weight_M.max() <= cap + 1e-9


@pytest.mark.parametrize(("num_teachers", "cap"), [(3, 0.4), (4, 0.6), (5, 0.3), (6, 1.0)])
@pytest.mark.parametrize("seed", range(2))
def test_ae_kd_is_the_limit_of_projected_gradient_descent(
    num_teachers: int, cap: float, seed: int
) -> None:
    gradient_MK = _arguments(num_teachers, seed=seed)["gradient_MBK"].mean(1) + 0.3
    gram_MM = gradient_MK @ gradient_MK.T
    found_M = min_norm_weights(gram_MM, cap)
    slow_M = _by_projected_gradient(gram_MM, cap)
    assert torch.allclose(found_M, slow_M, atol=1e-6)
    assert found_M @ gram_MM @ found_M <= slow_M @ gram_MM @ slow_M + 1e-10


def test_ae_kd_of_two_teachers_is_the_closed_form() -> None:
    for seed in range(20):
        given = _arguments(2, seed=seed)
        first, second = given["gradient_MBK"].mean(1)
        difference = first - second
        unbounded = (second @ second - first @ second) / (difference @ difference)
        weight = float(ae_kd(**given, max_weight=0.6)[0, 0])
        assert weight == pytest.approx(float(unbounded.clamp(0.4, 0.6)), abs=1e-9)


@pytest.mark.parametrize("num_teachers", [1, 2, 3, 5])
def test_a_cap_of_one_over_m_leaves_equal_weights(num_teachers: int) -> None:
    weight_MB = ae_kd(**_arguments(num_teachers, seed=1), max_weight=1 / num_teachers)
    equal_MB = torch.full((num_teachers, 6), 1 / num_teachers, dtype=torch.float64)
    assert torch.allclose(weight_MB, equal_MB)


def test_every_weighting_of_the_plan_can_be_computed() -> None:
    assert WEIGHTINGS.keys() == WEIGHTING_SPECS.keys()


@pytest.mark.parametrize("num_teachers", [1, 2, 3, 5])
@pytest.mark.parametrize("name", sorted(WEIGHTINGS))
def test_the_shares_of_every_clip_are_positive_and_sum_to_one(name: str, num_teachers: int) -> None:
    weight_MB = WEIGHTINGS[name](**_arguments(num_teachers, seed=3), max_weight=0.6)
    assert weight_MB.shape == (num_teachers, 6) and weight_MB.min() >= 0
    assert torch.allclose(weight_MB.sum(0), torch.ones(6, dtype=torch.float64))


def test_equal_or_no_gradients_get_equal_weights() -> None:
    given = _arguments(3, seed=1)
    for gradient_MBK in (given["gradient_MBK"][:1].repeat(3, 1, 1), torch.zeros(3, 6, 7)):
        weight_MB = ae_kd(**{**given, "gradient_MBK": gradient_MBK}, max_weight=0.6)
        assert torch.allclose(weight_MB, torch.full_like(weight_MB, 1 / 3), atol=1e-6)


def test_two_teachers_with_equal_gradients_share_the_weight_of_one() -> None:
    rng = torch.Generator().manual_seed(2)
    one, two = torch.randn(2, 5, generator=rng, dtype=torch.float64)
    doubled, single = torch.stack([one, one, two]), torch.stack([one, two])
    weight_M = min_norm_weights(doubled @ doubled.T, 1.0)
    alone_M = min_norm_weights(single @ single.T, 1.0)
    expected_M = torch.stack([alone_M[0] / 2, alone_M[0] / 2, alone_M[1]])
    assert torch.allclose(weight_M, expected_M, atol=1e-3)


def test_ca_mkd_weighs_teachers_per_clip_by_the_probability_of_the_label() -> None:
    given = _arguments(3, seed=5)
    weight_MB = ca_mkd(**given, max_weight=0.6)
    for b, label in enumerate(given["label_B"].tolist()):
        probabilities = [given["teacher_MBK"][m, b].softmax(0)[label] for m in range(3)]
        exp_losses = [1 / float(p) for p in probabilities]
        expected = [(1 - x / sum(exp_losses)) / 2 for x in exp_losses]
        assert weight_MB[:, b].tolist() == pytest.approx(expected)


def test_the_first_call_may_be_within_a_context_of_another_device() -> None:
    """The bounds that it caches are used by every later call."""
    with torch.device("meta"):
        min_norm_weights(torch.zeros(5, 5, dtype=torch.float64, device="cpu"), 0.31)
    weight_M = min_norm_weights(torch.eye(5, dtype=torch.float64), 0.31)
    assert weight_M.tolist() == pytest.approx([0.2] * 5)
