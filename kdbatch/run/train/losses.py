"""The losses by which a student learns from its teachers' logits.

A loss compares the student with one teacher, clip by clip; steps.py weighs the teachers.
Nothing here waits for the device. Axes: B clips of this process, N of all, K classes, M teachers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.run.distributed.collectives import all_gather_with_grad
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.recipes.distill import Distill

Loss = Callable[..., Tensor]
"""Called with (student_BK, teacher_BK, label_B, *, terms, group): the logits of the student and of
one teacher, divided by the temperature; the labels; the weights of the loss's terms; the ranks that
share the batch. Returns the loss of each clip (B), which is then multiplied by temperature^2.
"""


def kl(
    student_BK: Tensor,
    teacher_BK: Tensor,
    label_B: Tensor,
    *,
    terms: tuple[float, ...],
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """KL(teacher || student): Hinton et al. 2015, arXiv:1503.02531, sec. 2."""
    log_BK = student_BK.log_softmax(1)
    return F.kl_div(log_BK, teacher_BK.log_softmax(1), reduction="none", log_target=True).sum(1)


def dkd(
    student_BK: Tensor,
    teacher_BK: Tensor,
    label_B: Tensor,
    *,
    terms: tuple[float, ...],
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """DKD = alpha TCKD + beta NCKD: Zhao et al. 2022, arXiv:2203.08679.

    TCKD is the KL of the two probabilities (the label's class, all others), NCKD that of the
    distributions over the other classes; `terms` are alpha and beta. With alpha = 1 and beta = 1 -
    p(label) of the teacher it is KL.
    """
    alpha, beta = terms
    own_B1, num_others = label_B[:, None], student_BK.shape[1] - 1
    other_BJ = torch.arange(num_others, device=label_B.device).expand(len(label_B), -1)
    other_BJ = other_BJ + (other_BJ >= own_B1)
    binary, others = [], []
    for logit_BK in (student_BK, teacher_BK):
        log_BK = logit_BK.log_softmax(1)
        of_others_B1 = log_BK.gather(1, other_BJ).logsumexp(1, keepdim=True)
        binary.append(torch.cat([log_BK.gather(1, own_B1), of_others_B1], 1))
        others.append(logit_BK.gather(1, other_BJ).log_softmax(1))
    target, non_target = (
        F.kl_div(own, wanted, reduction="none", log_target=True).sum(1)
        for own, wanted in (binary, others)
    )
    return alpha * target + beta * non_target


def dist(
    student_BK: Tensor,
    teacher_BK: Tensor,
    label_B: Tensor,
    *,
    terms: tuple[float, ...],
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """DIST = beta inter + gamma intra: Huang et al. 2022, arXiv:2205.10536.

    Inter is 1 - Pearson's correlation of the two predictions of a clip over its classes, intra 1 -
    that of the predictions of a class over the clips of all ranks, its mean over classes; `terms`
    are beta and gamma. Intra has no clip of its own, so that each clip is given the whole of it:
    under weights by clip a teacher's intra counts by its mean weight. temperature^2 is that of the
    authors' code (hunto/image_classification_sota: lib/models/losses/dist_kd.py).
    """
    beta, gamma = terms
    own_BK, wanted_BK = student_BK.softmax(1), teacher_BK.softmax(1)
    inter_B = 1 - _correlation(own_BK, wanted_BK)
    all_NK, all_wanted_NK = (all_gather_with_grad(p, group) for p in (own_BK, wanted_BK))
    intra = 1 - _correlation(all_NK.T, all_wanted_NK.T).mean()
    return beta * inter_B + gamma * intra


LOSSES: dict[str, Loss] = {
    "kl": kl,
    "dkd": dkd,
    "dist": dist,
}


def tempered(logit: Tensor, recipe: Distill) -> Tensor:
    """Logits (..., K) divided by the temperature, with `standardized_logits` after their
    standardisation: (z - mean) / s.d. over the K classes, Sun et al. 2024, arXiv:2403.01427,
    algorithm 1. The s.d. divides by K, and equal logits stay zero.
    """
    if recipe.standardized_logits:
        centred = logit - logit.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        logit = centred * (variance + 1e-12).rsqrt()
    return logit / recipe.temperature


def teacher_losses(
    logit_BK: Tensor,
    teacher_MBK: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """The loss (M, B) with each teacher, temperature^2 included."""
    loss = LOSS_SPECS.loaded(recipe.loss, LOSSES, where="loss")
    own_BK = tempered(logit_BK, recipe)
    losses = [
        loss(own_BK, tempered(teacher_BK, recipe), label_B, terms=recipe.loss_terms, group=group)
        for teacher_BK in teacher_MBK
    ]
    return torch.stack(losses) * recipe.temperature**2


def logit_gradients(
    logit_BK: Tensor,
    teacher_MBK: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """The gradient (M, B, K) of each teacher's loss, summed over clips, by the student's logits.

    The one of `kl` is tau * (softmax(student/tau) - softmax(teacher/tau)). Other losses take a
    backward pass that ends at the logits.
    """
    tau = recipe.temperature
    if recipe.loss == "kl" and not recipe.standardized_logits:
        with torch.no_grad():
            return tau * ((logit_BK / tau).softmax(-1) - (teacher_MBK / tau).softmax(-1))
    gradients = []
    for teacher_BK in teacher_MBK:
        leaf_BK = logit_BK.detach().requires_grad_()
        with torch.enable_grad():
            loss_MB = teacher_losses(leaf_BK, teacher_BK[None], label_B, recipe=recipe, group=group)
        gradients += torch.autograd.grad(loss_MB.sum(), leaf_BK)
    return torch.stack(gradients)


def drop_teachers(
    weight_MB: Tensor, loss_MB: Tensor, *, probability: float, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Teacher dropping: each teacher of a clip loses its weight with this probability, except for
    the one whose loss is highest; the rest is scaled to a sum of 1.

    Sariyildiz et al. 2024, arXiv:2408.05088; naver/unic: modeling/teacher_dropping.py. There all
    weights are 1, and the sum is 1 over the batch, so that a clip with more teachers counts more;
    here every clip counts the same. A clip whose remaining teachers have no weight learns from the
    one of the highest loss. Every rank draws for the whole batch and uses its own clips.
    """
    num_teachers, num_clips = weight_MB.shape
    draw_MN = torch.rand(num_teachers, num_clips * group.world_size, device=weight_MB.device)
    highest_MB = F.one_hot(loss_MB.argmax(0), num_teachers).T.to(weight_MB.dtype)
    is_kept_MB = draw_MN[:, group.rank :: group.world_size] >= probability
    kept_MB = weight_MB * torch.maximum(is_kept_MB.to(weight_MB.dtype), highest_MB)
    total_B = kept_MB.sum(0)
    return torch.where(total_B > 0, kept_MB / total_B.clamp(min=1e-30), highest_MB)


def _correlation(x_RC: Tensor, y_RC: Tensor) -> Tensor:
    """Pearson's correlation of each row; 0 where a row is constant."""
    centred = (v - v.mean(1, keepdim=True) for v in (x_RC, y_RC))
    return F.cosine_similarity(*centred, dim=1)
