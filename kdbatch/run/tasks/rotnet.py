"""RotNet, Jing et al. 2018, arXiv:1811.11387: by which of several right angles was the clip turned?

Axes: B videos, R rotations, N = R*B clips. A video is cropped, jittered, flipped and recoloured
once, and its copies are then turned by exact quarters: whatever the augmentation leaves at the
borders is the same in every copy and tells nothing. All copies share one pass, so that batch
normalisation sees every angle equally often. An accuracy near 100 % within an epoch speaks for a
border in the videos themselves (black bars).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest, random_clip
from kdbatch.run.models import VideoBackbone
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks import RotNet
from kdbatch.vocab.views import View


def build_model(task: RotNet, backbone: VideoBackbone, copy: VideoBackbone) -> nn.Module:
    """The task's model; it keeps no second backbone."""
    return RotNetModel(task, backbone)


def chance_accuracy(task: RotNet, num_videos: int) -> float:
    """Share of rotations told right by guessing."""
    return 1 / len(task.quarters)


def sample_clips(
    videos: Sequence[StoredVideo], task: RotNet, view: View, rng: np.random.Generator
) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
    """One clip per video."""
    return [random_clip(video.sample, view, rng) for video in videos], {}


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
    """Square clips turned counter-clockwise by each of `quarters` right angles, (R*B, C, T, H, W),
    rotation by rotation. No pixel is mixed with another.
    """
    return torch.cat([torch.rot90(clip_BCTHW, quarter, (-2, -1)) for quarter in quarters])


def rotnet_step(model: RotNetModel, clip_VBCTHW: Tensor, batch: Batch, task: RotNet) -> StepOutput:
    """Mean cross-entropy over all copies."""
    clip_BCTHW = clip_VBCTHW[0]
    label_N = torch.arange(len(task.quarters), device=clip_BCTHW.device).repeat_interleave(
        len(clip_BCTHW)
    )
    logit_NR = model(rotated(clip_BCTHW, task.quarters)).float()
    with torch.no_grad():
        right_RB = (logit_NR.argmax(1) == label_N).float().unflatten(0, (len(task.quarters), -1))
    report = {"accuracy": accuracy_of(logit_NR, label_N)}
    report |= {
        f"accuracy_at_{90 * quarter}": right_B.mean()
        for quarter, right_B in zip(task.quarters, right_RB, strict=True)
    }
    return StepOutput(loss=F.cross_entropy(logit_NR, label_N), report=report)
