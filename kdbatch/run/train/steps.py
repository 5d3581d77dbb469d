"""The training steps of fine-tuning and distillation: from clips to a loss and metrics.

Axes: B clips, K classes, M teachers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.base.lookup import lookup
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.train.label_smoothing import smoothed_labels
from kdbatch.run.train.weighting import WEIGHTINGS
from kdbatch.vocab.recipes import Distill

Teacher = Callable[[Tensor], Tensor]
"""Maps clips to logits (B, K): a network, or cached logits of one."""


@dataclass(frozen=True, kw_only=True)
class StepOutput:
    """The loss, with its gradient, and the metrics of a step (`report`), which become curves."""

    loss: Tensor
    report: Mapping[str, Tensor]


def accuracy_of(logit_BK: Tensor, label_B: Tensor) -> Tensor:
    """The share of clips whose highest logit is that of their label."""
    return (logit_BK.argmax(1) == label_B).float().mean()


def finetune_step(model: nn.Module, clip_BCTHW: Tensor, label_B: Tensor) -> StepOutput:
    """Cross-entropy with the labels."""
    logit_BK = model(clip_BCTHW).float()
    loss = F.cross_entropy(logit_BK, label_B)
    return StepOutput(loss=loss, report={"accuracy": accuracy_of(logit_BK, label_B)})


def distill_step(
    student: nn.Module,
    teachers: Sequence[Teacher],
    clip_BCTHW: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> StepOutput:
    """Distillation from several teachers.

    Hinton et al. 2015, arXiv:1503.02531, sec. 2; several teachers as in AE-KD (Du et al. 2020):

    hard_weight * CE(label) + soft_weight * tau^2 * mean_b sum_m w_mb KL(teacher_m || student),
    teachers and student on the same clips (consistent views: Beyer et al. 2022, arXiv:2106.05237).
    The gradient of teacher m's term by the logits is tau * (softmax(student/tau) -
    softmax(teacher_m/tau)), so weights that depend on gradients cost no backward pass. By linearity
    the sum over teachers is one KL to their weighted mean, up to a constant.
    """
    # Teachers run first: their activations are freed before the student's take memory.
    with torch.no_grad():
        teacher_logits = [teacher(clip_BCTHW).float() for teacher in teachers]
    logit_BK = student(clip_BCTHW).float()
    if teacher_logits:
        teacher_MBK = torch.stack(teacher_logits)
        return distill_loss(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
    hard = F.cross_entropy(logit_BK, label_B)
    return StepOutput(
        loss=recipe.hard_weight * hard,
        report={"accuracy": accuracy_of(logit_BK, label_B), "hard": hard},
    )


def distill_loss(
    logit_BK: Tensor,
    teacher_MBK: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> StepOutput:
    """The loss of `distill_step`, given the logits of the student and of at least one teacher.

    With `soft_target` of smoothed labels, these take the place of the teachers' mean.
    """
    tau = recipe.temperature
    with torch.no_grad():
        soft_MBK = (teacher_MBK / tau).softmax(-1)
        gradient_MBK = tau * ((logit_BK / tau).softmax(-1) - soft_MBK)
        weighting = lookup(WEIGHTINGS, recipe.weighting, where="weighting")
        weight_MB = weighting(
            gradient_MBK,
            teacher_MBK=teacher_MBK,
            label_B=label_B,
            max_weight=recipe.max_teacher_weight,
            group=group,
        ).float()
        # Not a matrix product: autocast would compute it in bfloat16.
        target_BK = (weight_MB[:, :, None] * soft_MBK).sum(0)
        report = {f"teacher_weight_{m}": weight for m, weight in enumerate(weight_MB.mean(1))}
        if recipe.soft_target == "smoothed-labels":
            target_BK, share = smoothed_labels(label_B, like_BK=target_BK, group=group)
            report["label_smoothing"] = share.float()
    hard = F.cross_entropy(logit_BK, label_B)
    soft = F.kl_div((logit_BK / tau).log_softmax(-1), target_BK, reduction="batchmean") * tau**2
    report = {"accuracy": accuracy_of(logit_BK, label_B), "hard": hard, "soft": soft, **report}
    return StepOutput(loss=recipe.hard_weight * hard + recipe.soft_weight * soft, report=report)
