"""The training steps of fine-tuning and distillation: from clips to a loss and metrics.

Axes: B clips, K classes, M teachers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.train.label_smoothing import smoothed_labels
from kdbatch.run.train.losses import (
    LOSSES,
    drop_teachers,
    logit_gradients,
    teacher_losses,
    tempered,
)
from kdbatch.run.train.weighting import WEIGHTINGS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.recipes.distill import Distill

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

    hard_weight * CE(label) + soft_weight * mean_b sum_m w_mb L(teacher_m, student), where L is the
    loss of the recipe (losses.py) and w the weights of weighting.py; of `kl` it is AE-KD's (Du et
    al. 2020). Teachers and student see the same clips (consistent views: Beyer et al. 2022,
    arXiv:2106.05237). One teacher has the weight 1 whatever the weighting. Weights that depend on
    gradients take those by the logits, so that they cost no backward pass of the student.
    """
    # Teachers run first: their activations are freed before the student's take memory.
    with torch.no_grad():
        teacher_logits = [teacher(clip_BCTHW).float() for teacher in teachers]
    logit_BK = student(clip_BCTHW).float()
    if teacher_logits:
        teacher_MBK = torch.stack(teacher_logits)
        return distill_loss(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
    hard = _hard_loss(logit_BK, label_B, recipe)
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
    """The loss of `distill_step`, given the logits of the student and of at least one teacher."""
    weight_MB = teacher_weights(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
    return weighted_loss(logit_BK, teacher_MBK, weight_MB, label_B, recipe=recipe, group=group)


def teacher_weights(
    logit_BK: Tensor,
    teacher_MBK: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Tensor:
    """The share (M, B) of each teacher in what each clip is taught; those of a clip sum to 1."""
    given = (logit_BK.detach(), teacher_MBK, label_B)
    weighting = WEIGHTING_SPECS.loaded(recipe.weighting, WEIGHTINGS, where="weighting")
    gradient_MBK = logit_gradients(*given, recipe=recipe, group=group)
    with torch.no_grad():
        weight_MB = weighting(
            gradient_MBK,
            teacher_MBK=teacher_MBK,
            label_B=label_B,
            max_weight=recipe.max_teacher_weight,
            group=group,
        ).float()
        if recipe.teacher_dropping and len(teacher_MBK) > 1:
            loss_MB = teacher_losses(*given, recipe=recipe, group=group)
            weight_MB = drop_teachers(
                weight_MB, loss_MB, probability=recipe.teacher_dropping, group=group
            )
    return weight_MB


def weighted_loss(
    logit_BK: Tensor,
    teacher_MBK: Tensor,
    weight_MB: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> StepOutput:
    """The loss of `distill_step` for these weights of the teachers.

    By linearity the KLs to several teachers are one KL to their weighted mean, up to a constant.
    With `soft_target` of smoothed labels, these take the place of that mean, for every loss.
    """
    report = {f"teacher_weight_{m}": weight for m, weight in enumerate(weight_MB.mean(1))}
    with torch.no_grad():
        # Not a matrix product: autocast would compute it in bfloat16.
        soft_MBK = tempered(teacher_MBK, recipe).softmax(-1)
        target_BK = (weight_MB[:, :, None] * soft_MBK).sum(0)
        if recipe.soft_target == "smoothed-labels":
            target_BK, share = smoothed_labels(label_B, like_BK=target_BK, group=group)
            report["label_smoothing"] = share.float()
    hard = _hard_loss(logit_BK, label_B, recipe)
    own_BK, tau = tempered(logit_BK, recipe), recipe.temperature
    if recipe.loss == "kl":
        soft = F.kl_div(own_BK.log_softmax(-1), target_BK, reduction="batchmean") * tau**2
    elif recipe.soft_target == "smoothed-labels":
        loss = LOSS_SPECS.loaded(recipe.loss, LOSSES, where="loss")
        labels_BK = target_BK.clamp(min=1e-12).log()  # logits that predict the smoothed labels
        soft_B = loss(own_BK, labels_BK, label_B, terms=recipe.loss_terms, group=group)
        soft = soft_B.mean() * tau**2
    else:
        loss_MB = teacher_losses(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
        soft = (weight_MB * loss_MB).sum(0).mean()
    report = {"accuracy": accuracy_of(logit_BK, label_B), "hard": hard, "soft": soft, **report}
    return StepOutput(loss=recipe.hard_weight * hard + recipe.soft_weight * soft, report=report)


def _hard_loss(logit_BK: Tensor, label_B: Tensor, recipe: Distill) -> Tensor:
    return F.cross_entropy(logit_BK, label_B, label_smoothing=recipe.label_smoothing)
