"""RotNet, Jing et al. 2018, arXiv:1811.11387: predict by which right angle a clip was rotated.

Axes: B videos, R rotations, N = R*B clips. A video is cropped, jittered, flipped and recoloured
once, and its copies are then rotated by exact quarters: whatever the augmentation leaves at the
borders is the same in every copy and reveals nothing. All copies share one pass, so that batch
normalisation sees every angle equally often. An accuracy near 100 % within an epoch points to a
border in the videos themselves (black bars).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import random_clip
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks.rotnet import RotNet
from kdbatch.vocab.views import View


def chance_accuracy(task: RotNet, num_videos: int) -> float:
    """One of R rotations."""
    return 1 / len(task.quarters)


def sample_clips(
    videos: Sequence[StoredVideo], task: RotNet, view: View, rng: np.random.Generator
) -> SampledClips:
    """One clip per video."""
    return [random_clip(video.sample, view, rng) for video in videos], {}


def build_model(task: RotNet, make_backbone: MakeBackbone, group: ProcessGroup) -> "RotNetModel":
    return RotNetModel(task, make_backbone())


class RotNetModel(nn.Module):
    """Backbone and two linear layers, as in LongLong-Jing/3DRotNet: D -> 64 -> R."""

    def __init__(self, task: RotNet, backbone: VideoBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Linear(backbone.feature_dim, task.hidden_dim),
            nn.ReLU(),
            nn.Linear(task.hidden_dim, len(task.quarters)),
        )

    def forward(self, clip_NCTHW: Tensor) -> Tensor:
        """Logits (N, R)."""
        return self.head(self.backbone.forward_pooled(clip_NCTHW))


def rotated(clip_BCTHW: Tensor, quarters: Sequence[int]) -> Tensor:
    """Square clips rotated counter-clockwise by each of `quarters` right angles, (R*B, C, T, H, W).

    All clips at the first angle come first. No pixel is mixed with another.
    """
    return torch.cat([torch.rot90(clip_BCTHW, quarter, (-2, -1)) for quarter in quarters])


def rotnet_step(model: RotNetModel, clip_VBCTHW: Tensor, batch: Batch, task: RotNet) -> StepOutput:
    """Mean cross-entropy with the rotation, over all copies."""
    clip_BCTHW = clip_VBCTHW[0]
    rotation_R = torch.arange(len(task.quarters), device=clip_BCTHW.device)
    label_N = rotation_R.repeat_interleave(len(clip_BCTHW))
    logit_NR = model(rotated(clip_BCTHW, task.quarters)).float()
    with torch.no_grad():
        is_right_N = (logit_NR.argmax(1) == label_N).float()
        is_right_RB = is_right_N.unflatten(0, (len(task.quarters), -1))
    report = {"accuracy": accuracy_of(logit_NR, label_N)}
    for quarter, is_right_B in zip(task.quarters, is_right_RB, strict=True):
        report[f"accuracy_at_{90 * quarter}"] = is_right_B.mean()
    return StepOutput(loss=F.cross_entropy(logit_NR, label_N), report=report)


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=rotnet_step,
    chance_accuracy=chance_accuracy,
)
