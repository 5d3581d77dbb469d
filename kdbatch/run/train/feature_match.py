"""The feature losses: they match maps of the student to maps of each teacher, at named layers.

Axes: M teachers, B clips, D channels, K classes, P pairs of layers.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.base.lookup import lookup
from kdbatch.run.data.geometry import resize_map
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.models import Classifier, VideoBackbone
from kdbatch.run.train.steps import StepOutput, teacher_weights, weighted_loss
from kdbatch.run.train.weighting import ca_mkd
from kdbatch.vocab.distillation.feature_layers import layer_pairs
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.views import View

LAST = ""  # names the last map, which every network has

FeatureError = Callable[..., Tensor]
"""Called with (own_BDTHW, wanted_BDTHW, *, group): the student's projected map and the teacher's,
of one shape; the ranks that share the batch. Returns the error of each clip (B).
"""
Projector = Callable[[int, int], nn.Module]
"""Makes the module that maps so many channels of the student to so many of a teacher."""


def squared_error(
    own_BDTHW: Tensor, wanted_BDTHW: Tensor, *, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """The mean squared difference: FitNets' hint loss (Romero et al. 2015, arXiv:1412.6550), as a
    mean over channels and positions in place of half their sum.
    """
    return (own_BDTHW - wanted_BDTHW).square().flatten(1).mean(1)


def cosine_and_l1(
    own_BDTHW: Tensor, wanted_BDTHW: Tensor, *, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """(1 - cosine) / 2 + smooth L1 / 2 of the channels at each position, their mean over positions.

    UNIC (Sariyildiz et al. 2024, arXiv:2408.05088; naver/unic: modeling/losses.py). A teacher's map
    has mean 0 and variance 1 in every channel, so that no teacher counts more because its features
    are large: over the batch here, over a running mean of batches there.
    """
    dims = (0, 2, 3, 4)
    mean = group.all_reduce_mean(wanted_BDTHW.mean(dims, keepdim=True))
    centred = wanted_BDTHW - mean
    variance = group.all_reduce_mean(centred.square().mean(dims, keepdim=True))
    wanted_BDTHW = centred * (variance + 1e-5).rsqrt()
    cosine_BTHW = F.cosine_similarity(own_BDTHW, wanted_BDTHW, dim=1)
    l1_BTHW = F.smooth_l1_loss(own_BDTHW, wanted_BDTHW, reduction="none").mean(1)
    return ((1 - cosine_BTHW) / 2 + l1_BTHW / 2).flatten(1).mean(1)


def linear_projector(from_dim: int, to_dim: int) -> nn.Module:
    """A 1x1x1 convolution and batch norm, as in FitNets."""
    return nn.Sequential(nn.Conv3d(from_dim, to_dim, 1, bias=False), nn.BatchNorm3d(to_dim))


def mlp_projector(from_dim: int, to_dim: int) -> nn.Module:
    """Two linear layers and a GELU at each position, as in UNIC."""
    return nn.Sequential(nn.Conv3d(from_dim, to_dim, 1), nn.GELU(), nn.Conv3d(to_dim, to_dim, 1))


FEATURE_LOSSES: dict[str, tuple[FeatureError, Projector]] = {
    "ca-mkd": (squared_error, linear_projector),
    "hints": (squared_error, linear_projector),
    "cosine-l1": (cosine_and_l1, mlp_projector),
}


class FeatureMatcher(nn.Module):
    """A student with one projector for each pair of layers that a teacher follows.

    `pairs` are (number of the teacher, student's layer, teacher's layer). Projectors are trained
    with the student, and are not part of the exported model.
    """

    def __init__(
        self, student: Classifier, teachers: Sequence[Classifier], *, recipe: Distill
    ) -> None:
        super().__init__()
        self.student = student
        texts = recipe.feature_layers
        self.pairs = [
            (m, *pair)
            for m, teacher in enumerate(teachers)
            for pair in (
                layer_pairs(texts, teacher.backbone.layer_names) if texts else [(LAST, LAST)]
            )
        ]
        _, projector = lookup(FEATURE_LOSSES, recipe.feature_loss, where="feature_loss")
        own_dims = _channels(student.backbone, [own for _, own, _ in self.pairs], recipe.view)
        dims = [
            _channels(teacher.backbone, [w for m, _, w in self.pairs if m == number], recipe.view)
            for number, teacher in enumerate(teachers)
        ]
        self.embed = nn.ModuleList(
            projector(own_dims[own], dims[m][wanted]) for m, own, wanted in self.pairs
        )

    def layers_of(self, number: int) -> set[str]:
        """The layers that a teacher shows."""
        return {wanted for m, _, wanted in self.pairs if m == number}

    def forward(self, maps: Mapping[str, Tensor], *, sizes: Sequence[torch.Size]) -> list[Tensor]:
        """The student's maps, projected for each pair and resized to `sizes` (T, H, W)."""
        return [
            resize_map(embed(maps[own]).float(), size)
            for embed, (_, own, _), size in zip(self.embed, self.pairs, sizes, strict=True)
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
    """The step of `distill_step` plus feature_weight * mean_b sum_m v_mb E_mb.

    E_mb is the mean error over the pairs of layers that teacher m follows. v is the weight of the
    teachers in the soft loss, teacher dropping included; for `ca-mkd` it is `_confidence`.
    """
    # Teachers run first: their activations are freed before the student's take memory.
    with torch.no_grad():
        teacher_maps = [
            _maps(teacher.backbone, clip_BCTHW, matcher.layers_of(m))
            for m, teacher in enumerate(teachers)
        ]
        teacher_MBK = _head_logits(teachers, [maps[LAST] for maps in teacher_maps])
    student = matcher.student
    maps = _maps(student.backbone, clip_BCTHW, {own for _, own, _ in matcher.pairs})
    logit_BK = student.forward_head(maps[LAST]).float()
    weight_MB = teacher_weights(logit_BK, teacher_MBK, label_B, recipe=recipe, group=group)
    step = weighted_loss(logit_BK, teacher_MBK, weight_MB, label_B, recipe=recipe, group=group)
    wanted = [teacher_maps[m][layer].float() for m, _, layer in matcher.pairs]
    embedded = matcher(maps, sizes=[wanted_map.shape[2:] for wanted_map in wanted])
    if recipe.feature_loss == "ca-mkd":
        weight_MB = _confidence(teachers, embedded, label_B)
    error, _ = lookup(FEATURE_LOSSES, recipe.feature_loss, where="feature_loss")
    error_PB = [error(own, other, group=group) for own, other in zip(embedded, wanted, strict=True)]
    number_P = [m for m, _, _ in matcher.pairs]
    of_teachers = [
        torch.stack([e for e, m in zip(error_PB, number_P, strict=True) if m == number])
        for number in range(len(teachers))
    ]
    error_MB = torch.stack([own_PB.mean(0) for own_PB in of_teachers])
    feature = (weight_MB * error_MB).sum(0).mean()
    return StepOutput(
        loss=step.loss + recipe.feature_weight * feature, report={**step.report, "feature": feature}
    )


def _confidence(
    teachers: Sequence[Classifier], embedded: Sequence[Tensor], label_B: Tensor
) -> Tensor:
    """CA-MKD's weights (M, B) of last maps: Zhang et al., ICASSP 2022, arXiv:2201.00007.

    They are computed from the logits of teacher m's own head for the student's projected map: the
    term counts where that head, not the teacher, is right about the label. Weights have no
    gradient. The authors' code (Rorozhl/CA-MKD, distiller_zoo/CAMKD.py) divides by M once more:
    that equals `feature_weight` divided by M.
    """
    with torch.no_grad():
        logit_MBK = _head_logits(teachers, embedded)
        return ca_mkd(logit_MBK, teacher_MBK=logit_MBK, label_B=label_B, max_weight=1.0).float()


def _maps(backbone: VideoBackbone, clip_BCTHW: Tensor, names: set[str]) -> dict[str, Tensor]:
    """The maps of these layers, and the last one."""
    last, maps = backbone.forward_maps(clip_BCTHW, names)
    return {**maps, LAST: last}


def _channels(backbone: VideoBackbone, names: Sequence[str], view: View) -> dict[str, int]:
    """The number of channels of each layer's map, which only a forward pass shows."""
    dims = {LAST: backbone.feature_dim}
    if set(names) <= dims.keys():
        return dims
    shape = (1, 3, view.num_frames, view.size_pixels, view.size_pixels)
    was_training, device = backbone.training, next(backbone.parameters()).device
    with torch.no_grad():  # in evaluation: no batch statistics of a black clip
        maps = _maps(backbone.eval(), torch.zeros(shape, device=device), set(names))
    backbone.train(was_training)
    return {name: map_BDTHW.shape[1] for name, map_BDTHW in maps.items()}


def _head_logits(teachers: Sequence[Classifier], maps: Sequence[Tensor]) -> Tensor:
    """The logits (M, B, K) of each teacher's head for its feature map."""
    return torch.stack(
        [
            teacher.forward_head(map_BDTHW).float()
            for teacher, map_BDTHW in zip(teachers, maps, strict=True)
        ]
    )
