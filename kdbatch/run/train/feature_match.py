"""The second term of CA-MKD: the student's last map, made alike to each teacher's. Axes: M
teachers, B clips, D channels, K classes.
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
    """A student, and for each teacher what embeds its last map into the teacher's channels: a 1x1x1
    convolution and batch norm, as in FitNets (Romero et al. 2015, arXiv:1412.6550). The embeddings
    learn with the student, and are not part of it.
    """

    def __init__(self, student: Classifier, teachers: Sequence[Classifier]) -> None:
        super().__init__()
        self.student = student
        from_dim, to_dims = (
            student.backbone.feature_dim,
            [teacher.backbone.feature_dim for teacher in teachers],
        )
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Conv3d(from_dim, dim, 1, bias=False), nn.BatchNorm3d(dim))
            for dim in to_dims
        )

    def forward(self, map_BDTHW: Tensor, *, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """The student's map in each teacher's channels and frames, rows and columns."""
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
    """Zhang et al., ICASSP 2022, arXiv:2201.00007: the logit term of `distill_step`, and
    feature_weight * mean_b sum_m v_mb MSE_mb.

    MSE is over channels and places of the two maps, eq. 6. v_mb is the weight of eq. 4 for what
    teacher m's own head says of the student's embedded map: the term counts where that head, not
    the teacher, knows the label. Weights have no gradient. The source's code (Rorozhl/CA-MKD,
    distiller_zoo/CAMKD.py) divides by M once more: that is `feature_weight` divided by M.
    """
    with (
        torch.no_grad()
    ):  # first: what they compute with is free again when the student's maps need room
        maps = [teacher.backbone.forward_features(clip_BCTHW) for teacher in teachers]
        teacher_MBK = torch.stack(
            [
                teacher.forward_head(given).float()
                for teacher, given in zip(teachers, maps, strict=True)
            ]
        )
    student = matcher.student
    map_BDTHW = student.backbone.forward_features(clip_BCTHW)
    step = distill_loss(
        student.forward_head(map_BDTHW).float(), teacher_MBK, label_B, recipe=recipe, group=group
    )
    embedded = matcher(map_BDTHW, sizes=[given.shape[2:] for given in maps])
    with torch.no_grad():
        through_MBK = torch.stack(
            [
                teacher.forward_head(own).float()
                for teacher, own in zip(teachers, embedded, strict=True)
            ]
        )
        weight_MB = ca_mkd(
            through_MBK, teacher_MBK=through_MBK, label_B=label_B, max_weight=1.0
        ).float()
    error_MB = torch.stack(
        [
            (own - given.float()).square().flatten(1).mean(1)
            for own, given in zip(embedded, maps, strict=True)
        ]
    )
    feature = (weight_MB * error_MB).sum(0).mean()
    return StepOutput(
        loss=step.loss + recipe.feature_weight * feature, report={**step.report, "feature": feature}
    )
