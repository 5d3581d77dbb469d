"""CVRL, Qian et al. 2021, arXiv:2008.03800: contrast two clips of a video with clips of others.

Axes: V=2 clips, B videos of this process, N of all, D embedding. The ladder is ours: it widens what
counts as the same. At complexity 1 both clips are the same frames, at 2 (the source's) their starts
are apart by a gap whose density falls linearly, at 3 uniformly. Differences from tensorflow/models
official/projects/video_ssl: too-short videos are left out instead of being wrapped; both clips are
augmented alike, where the source blurs and solarises one more often; colours change in a fixed
order; frames of a clip are as far apart as the profile says, successive ones in the study's, where
the source takes every second.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest, clip_frames, timeline_frames
from kdbatch.run.distributed.collectives import all_gather_with_grad
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks.cvrl import CVRL
from kdbatch.vocab.views import View


def chance_accuracy(task: CVRL, num_videos: int) -> float:
    """A clip's partner is one of all other clips of the batch."""
    return 1 / max(1, 2 * num_videos - 1)


def sample_clips(
    videos: Sequence[StoredVideo], task: CVRL, view: View, rng: np.random.Generator
) -> SampledClips:
    """Two clips per video, in any order of time, each with augmentation parameters of its own."""
    requests = []
    for video in videos:
        num_starts = timeline_frames(video.sample, view) - view.window_frames + 1
        gap = draw_gap(task, num_starts, rng)
        start = int(rng.integers(num_starts - gap))
        starts = rng.permutation([start, start + gap])
        frame_VT = clip_frames(video.sample, view, starts)
        requests.append(ClipRequest(frame_VT=frame_VT, draw_V=(0, 1)))
    return requests, {"video": np.array([video.sample.place for video in videos])}


def draw_gap(task: CVRL, num_starts: int, rng: np.random.Generator) -> int:
    """Frames between the starts of two clips: a continuous gap below `num_starts`, rounded down.

    Section 3.2 of the source draws gap d with a density in proportion to 1 - (d/T)^p. For p = 1 the
    distribution function is 1 - (1 - d/T)^2, which has an inverse.
    """
    uniform = rng.random()
    share = {"none": 0.0, "decreasing": 1 - math.sqrt(1 - uniform), "uniform": uniform}[task.gap]
    return int(num_starts * share)


def build_model(task: CVRL, make_backbone: MakeBackbone, group: ProcessGroup) -> "CVRLModel":
    return CVRLModel(task, make_backbone(), group)


class CVRLModel(nn.Module):
    """Backbone and projection head.

    The head has three hidden layers with batch normalisation, then a linear one.
    """

    def __init__(
        self, task: CVRL, backbone: VideoBackbone, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        super().__init__()
        self.group = group
        self.backbone = backbone
        layers: list[nn.Module] = []
        dim = backbone.feature_dim
        for _ in range(task.num_hidden):
            layers += [nn.Linear(dim, task.hidden_dim), nn.BatchNorm1d(task.hidden_dim), nn.ReLU()]
            dim = task.hidden_dim
        self.head = nn.Sequential(*layers, nn.Linear(dim, task.embedding_dim))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Embeddings (B, D) of unit length, float32."""
        return F.normalize(self.head(self.backbone.forward_pooled(clip_BCTHW)).float(), dim=1)


def cvrl_step(model: CVRLModel, clip_VBCTHW: Tensor, batch: Batch, task: CVRL) -> StepOutput:
    """NT-Xent over the clips of all ranks, which one forward pass normalises together.

    `accuracy` is the share of clips whose partner is the nearest clip.
    """
    first_BD, second_BD = model(clip_VBCTHW.flatten(0, 1)).chunk(2)
    video_B = batch.extra["video"].to(first_BD.device, non_blocking=True)
    with torch.autocast(first_BD.device.type, enabled=False):
        loss, accuracy = nt_xent(
            first_BD, second_BD, video_B, temperature=task.temperature, group=model.group
        )
    return StepOutput(loss=loss, report={"accuracy": accuracy})


def nt_xent(
    first_BD: Tensor,
    second_BD: Tensor,
    video_B: Tensor,
    *,
    temperature: float,
    group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of this process's rows against the rows of all ranks.

    Their mean over ranks is that of one whole batch. For clip a_i with partner b_i:
    -log exp(a_i b_i / tau) / (sum_j exp(a_i b_j / tau) + sum_{j != i} exp(a_i a_j / tau)), mean
    over i; plus the same with a and b exchanged: the InfoNCE loss of the source, and
    official/projects/video_ssl/losses/losses.py, which adds both directions up. A second row of the
    same video is neither partner nor negative.
    """
    num_videos, device = len(first_BD), first_BD.device
    own_B = group.rank + group.world_size * torch.arange(num_videos, device=device)
    both_BVD = torch.stack([first_BD, second_BD], 1)
    first_ND, second_ND = all_gather_with_grad(both_BVD, group).unbind(1)
    is_own_BN = own_B[:, None] == torch.arange(group.world_size * num_videos, device=device)
    is_same_video_BN = video_B[:, None] == all_gather_with_grad(video_B, group)
    loss, accuracy = first_BD.new_zeros(()), first_BD.new_zeros(())
    for anchor_BD, same_view_ND, partner_ND in (
        (first_BD, first_ND, second_ND),
        (second_BD, second_ND, first_ND),
    ):
        across_BN = anchor_BD @ partner_ND.T / temperature
        across_BN = across_BN.masked_fill(is_same_video_BN & ~is_own_BN, -torch.inf)
        within_BN = anchor_BD @ same_view_ND.T / temperature
        within_BN = within_BN.masked_fill(is_same_video_BN, -torch.inf)
        logit = torch.cat([across_BN, within_BN], 1)
        loss = loss + F.cross_entropy(logit, own_B)
        accuracy = accuracy + accuracy_of(logit, own_B) / 2
    return loss, accuracy


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=cvrl_step,
    chance_accuracy=chance_accuracy,
)
