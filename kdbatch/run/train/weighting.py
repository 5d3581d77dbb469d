"""Weightings of several teachers: the share of each teacher in the soft target of each clip.

A weighting returns weight_MB, float64: teacher m's share for clip b; the shares of a clip sum to 1.
Weightings of teachers alone return the same shares for every clip. Nothing here waits for the
device. Axes: M teachers, B clips, K classes; S sets of bounds.
"""

import itertools
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup

Weighting = Callable[..., Tensor]
"""Called with (gradient_MBK, *, teacher_MBK, label_B, max_weight, group): the gradient of each
teacher's loss by the student's logits, clip by clip; the teachers' logits; the labels; the upper
bound of AE-KD; the ranks that share the batch. A weighting may ignore some of them.
"""


def equal(
    gradient_MBK: Tensor,
    *,
    teacher_MBK: Tensor,
    label_B: Tensor,
    max_weight: float,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """1/M for each teacher: the plain mean."""
    num_teachers, num_clips, _ = gradient_MBK.shape
    return torch.full(
        (num_teachers, num_clips), 1 / num_teachers, dtype=torch.float64, device=gradient_MBK.device
    )


def ae_kd(
    gradient_MBK: Tensor,
    *,
    teacher_MBK: Tensor,
    label_B: Tensor,
    max_weight: float,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """AE-KD: the weights that minimise ||sum_m w_m g_m||^2 with sum w = 1, 0 <= w_m <= max_weight.

    g_m is the mean of teacher m's gradient over the batch. Du et al., NeurIPS 2020, "Agree to
    Disagree". The authors' code (AnTuo1998/AE-KD: helper/optimization.py) solves the same problem
    as a one-class SVM, and computes each g_m by a backward pass of the student; here g_m is the
    closed form by the logits. A `max_weight` of 1/M or less gives 1/M each.
    """
    gradient_MK = group.all_reduce_mean(gradient_MBK.detach().double().mean(1))
    num_teachers, num_clips = gradient_MBK.shape[:2]
    if max_weight * num_teachers <= 1:
        return equal(gradient_MBK, teacher_MBK=teacher_MBK, label_B=label_B, max_weight=max_weight)
    return min_norm_weights(gradient_MK @ gradient_MK.T, max_weight)[:, None].expand(-1, num_clips)


def ca_mkd(
    gradient_MBK: Tensor,
    *,
    teacher_MBK: Tensor,
    label_B: Tensor,
    max_weight: float,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """CA-MKD: a teacher's weight falls with its cross-entropy with the clip's label.

    w_m = (1 - softmax_m(CE_m)) / (M - 1), which sums to 1: Zhang et al., ICASSP 2022,
    arXiv:2201.00007. This is the weight of the logit term; the feature term is in
    feature_match.py. The authors' code (Rorozhl/CA-MKD) divides by M once more: that equals
    `soft_weight` divided by M.
    """
    num_teachers, num_clips, num_classes = teacher_MBK.shape
    if num_teachers == 1:
        return equal(gradient_MBK, teacher_MBK=teacher_MBK, label_B=label_B, max_weight=max_weight)
    logit_NK = teacher_MBK.detach().double().reshape(-1, num_classes)
    loss_N = F.cross_entropy(logit_NK, label_B.repeat(num_teachers), reduction="none")
    loss_MB = loss_N.view(num_teachers, num_clips)
    return (1 - loss_MB.softmax(0)) / (num_teachers - 1)


def min_norm_weights(gram_MM: Tensor, cap: float) -> Tensor:
    """The w with the least w'Gw, sum w = 1 and 0 <= w_m <= cap, for M >= 1 and cap > 1/M; float64.

    The solution is exact: at the optimum some weights lie at a bound and the others solve a linear
    system, so every such system is solved, all in one batch, and the best admissible solution is
    taken. With cap 0.6 there are 3 of them for M = 2, 13 for M = 3, 1263 for M = 8. A ridge of
    1e-12 of the diagonal's mean makes the optimum unique where gradients are equal or zero: weights
    are then as equal as the bounds allow.
    """
    num = len(gram_MM)
    gram_MM = gram_MM / gram_MM.diagonal().mean().clamp(min=1e-300)
    gram_MM = gram_MM + 1e-12 * torch.eye(num, dtype=gram_MM.dtype, device=gram_MM.device)
    free_SM, fixed_SM = (part.to(gram_MM.device, non_blocking=True) for part in _bounds(num, cap))
    # Unknowns w and the multiplier l of the sum: (Gw)_m = l where w_m is free, w_m = its bound
    # elsewhere, sum w = 1.
    free_SM1 = free_SM[:, :, None]
    rows_SMM = free_SM1 * gram_MM + torch.diag_embed(1 - free_SM)
    last_S1M = torch.ones_like(free_SM)[:, None]
    weight_rows = torch.cat([rows_SMM, -free_SM1], 2)
    sum_row = torch.cat([last_S1M, torch.zeros_like(last_S1M[..., :1])], 2)
    system = torch.cat([weight_rows, sum_row], 1)
    right_side = torch.cat([fixed_SM, torch.ones_like(fixed_SM[:, :1])], 1)[..., None]
    weight_SM = torch.linalg.solve_ex(system, right_side)[0][:, :num, 0]
    admissible_S = ((weight_SM > -1e-9) & (weight_SM < cap + 1e-9)).all(1)
    cost_S = torch.einsum("sm,mn,sn->s", weight_SM, gram_MM, weight_SM)
    best = torch.where(admissible_S, cost_S, torch.full_like(cost_S, torch.inf)).argmin()
    return weight_SM.index_select(0, best[None])[0].clamp(0, cap)


@cache
def _bounds(num: int, cap: float) -> tuple[Tensor, Tensor]:
    """Two masks (S, M): 1 where a weight is free, and the bound of each weight that is not.

    One row for every choice that leaves at least one weight free and can sum to 1. Corners of the
    simplex have all weights but one at a bound.
    """
    free, fixed = [], []
    for choice in itertools.product(("free", "low", "high"), repeat=num):
        num_free, num_high = choice.count("free"), choice.count("high")
        if num_free and num_high * cap <= 1 <= (num_high + num_free) * cap:
            free.append([float(c == "free") for c in choice])
            fixed.append([cap * (c == "high") for c in choice])
    # Explicitly on the CPU: the result is cached, and must not lie on the device of a
    # `with torch.device` block around the first call.
    free_SM = torch.tensor(free, dtype=torch.float64, device="cpu")
    fixed_SM = torch.tensor(fixed, dtype=torch.float64, device="cpu")
    return free_SM, fixed_SM


WEIGHTINGS: dict[str, Weighting] = {
    "equal": equal,
    "ae-kd": ae_kd,
    "ca-mkd": ca_mkd,
}
