"""How much each teacher counts. Axes: M teachers, B clips, K classes."""

from collections.abc import Callable

import torch
from torch import Tensor

Weighting = Callable[..., Tensor]


def equal(gradient_MK: Tensor, *, max_weight: float) -> Tensor:
    """1/M each: the plain mean of the teachers."""
    return torch.full((len(gradient_MK),), 1 / len(gradient_MK), dtype=torch.float64, device=gradient_MK.device)


def ae_kd(gradient_MK: Tensor, *, max_weight: float) -> Tensor:
    """Weights w that minimise ||sum_m w_m g_m||^2 with sum w = 1 and 0 <= w_m <= max_weight: AE-KD,
    Du et al., NeurIPS 2020, "Agree to Disagree"; AnTuo1998/AE-KD: helper/optimization.py solves the same problem as a one-class SVM.

    g_m is the gradient of teacher m's loss by the student's logits, averaged over the batch. Two teachers: the closed form. More:
    projected gradient steps in float64 until nothing moves. `max_weight` below 1/M leaves no choice but 1/M each.
    """
    gram_MM = (gradient_MK.double() @ gradient_MK.double().T).detach()
    num = len(gram_MM)
    if max_weight * num <= 1:
        return torch.full((num,), 1 / num, dtype=torch.float64, device=gram_MM.device)
    if num == 1:
        return torch.ones(1, dtype=torch.float64, device=gram_MM.device)
    if num == 2:
        return _two(gram_MM, max_weight)
    return _projected(gram_MM, max_weight)


def _two(gram_MM: Tensor, max_weight: float) -> Tensor:
    distance = gram_MM[0, 0] + gram_MM[1, 1] - 2 * gram_MM[0, 1]
    free = (gram_MM[1, 1] - gram_MM[0, 1]) / distance.clamp(min=1e-30)
    first = torch.where(distance > 0, free, torch.full_like(free, 0.5)).clamp(1 - max_weight, max_weight)
    return torch.stack([first, 1 - first])


def _projected(gram_MM: Tensor, max_weight: float, *, num_steps: int = 2000) -> Tensor:
    num = len(gram_MM)
    weight_M = torch.full((num,), 1 / num, dtype=torch.float64, device=gram_MM.device)
    rate = 1 / gram_MM.diagonal().sum().clamp(min=1e-30)  # the trace bounds the largest eigenvalue
    for _ in range(num_steps):
        moved_M = project_to_capped_simplex(weight_M - rate * (gram_MM @ weight_M), max_weight)
        if torch.equal(moved_M, weight_M):
            break
        weight_M = moved_M
    return weight_M


def project_to_capped_simplex(point_M: Tensor, cap: float) -> Tensor:
    """The nearest w with sum 1 and 0 <= w_m <= cap: clamp(point - shift, 0, cap), the shift found by bisection."""
    low, high = point_M.min() - 1, point_M.max()
    for _ in range(60):
        middle = (low + high) / 2
        too_much = (point_M - middle).clamp(0, cap).sum() > 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    return (point_M - (low + high) / 2).clamp(0, cap)


WEIGHTINGS: dict[str, Weighting] = {"equal": equal, "ae-kd": ae_kd}
