"""The feature term of CA-MKD: matches the student's last feature map to each teacher's.

Axes: M teachers, B clips, D channels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdbatch.run.data.geometry import resize_map
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.models import Classifier
from kdbatch.run.train.steps import StepOutput, distill_loss
from kdbatch.run.train.weighting import ca_mkd
from kdbatch.vocab.recipes import Distill


class FeatureMatcher(nn.Module):
    """A student with one embedding of its last feature map per teacher.

    An embedding is a 1x1x1 convolution to the teacher's channels and batch norm, as in FitNets
    (Romero et al. 2015, arXiv:1412.6550). Embeddings are trained with the student, and are not part
    of the exported model.
    """

    def __init__(self, student: Classifier, teachers: Sequence[Classifier]) -> None:
        super().__init__()
        self.student = student
        from_dim = student.backbone.feature_dim
        to_dims = [teacher.backbone.feature_dim for teacher in teachers]
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Conv3d(from_dim, dim, 1, bias=False), nn.BatchNorm3d(dim))
            for dim in to_dims
        )

    def forward(self, map_BDTHW: Tensor, *, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """The student's map, embedded for each teacher and resized to `sizes` (T, H, W)."""
        embedded = [embed(map_BDTHW).float() for embed in self.embed]
        return [
            resize_map(map_BDTHW, size) for map_BDTHW, size in zip(embedded, sizes, strict=True)
        ]


def feature_match_step(
    matcher: FeatureMatcher,
    teachers: Sequence[Classifier],
    clip_BCTHW: Tensor,
    label_B: Tensor,
    *,
    recipe: Distill,
    group: ProcessGroup = SINGLE_PROCESS,
) -> StepOutput:
    """The step of `distill_step` plus feature_weight * mean_b sum_m v_mb MSE_mb.

    Zhang et al., ICASSP 2022, arXiv:2201.00007. MSE is over the channels and positions of the two
    feature maps, eq. 6. v_mb is the weight of eq. 4, computed from the logits of teacher m's own
    head for the student's embedded map: the term counts where that head, not the teacher, is right
    about the label. Weights have no gradient. The authors' code (Rorozhl/CA-MKD,
    distiller_zoo/CAMKD.py) divides by M once more: that equals `feature_weight` divided by M.
    """
    # Teachers run first: their activations are freed before the student's take memory.
    with torch.no_grad():
        teacher_maps = [teacher.backbone.forward_features(clip_BCTHW) for teacher in teachers]
        teacher_MBK = _head_logits(teachers, teacher_maps)
    student = matcher.student
    map_BDTHW = student.backbone.forward_features(clip_BCTHW)
    logit_BK = student.forward_head(map_BDTHW).float()
    step = distill_loss(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
    embedded = matcher(map_BDTHW, sizes=[teacher_map.shape[2:] for teacher_map in teacher_maps])
    with torch.no_grad():
        embedded_MBK = _head_logits(teachers, embedded)
        weight_MB = ca_mkd(
            embedded_MBK, teacher_MBK=embedded_MBK, label_B=label_B, max_weight=1.0
        ).float()
    errors = [
        (own_map - teacher_map.float()).square().flatten(1).mean(1)
        for own_map, teacher_map in zip(embedded, teacher_maps, strict=True)
    ]
    error_MB = torch.stack(errors)
    feature = (weight_MB * error_MB).sum(0).mean()
    return StepOutput(
        loss=step.loss + recipe.feature_weight * feature, report={**step.report, "feature": feature}
    )


def _head_logits(teachers: Sequence[Classifier], maps: Sequence[Tensor]) -> Tensor:
    """The logits (M, B, K) of each teacher's head for its feature map."""
    return torch.stack(
        [
            teacher.forward_head(map_BDTHW).float()
            for teacher, map_BDTHW in zip(teachers, maps, strict=True)
        ]
    )
