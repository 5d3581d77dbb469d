"""VCOP, Xu et al., CVPR 2019, "Self-supervised spatiotemporal learning via video clip order
prediction": the order of shuffled clips.

Axes: V clips of a tuple, B videos, D features, P = V*(V-1)/2 pairs, K = V! orders, H hidden. Each
clip of a tuple has a draw of its own: place of the crop, angle, flip and colours, so that nothing
can be followed from one clip into the next but what happens.

All clips of a batch pass the backbone together, so batch normalisation sees V*B clips; the authors'
code calls it once per position, on B clips each. Positions are shuffled, so both see the same
distribution; ours estimates it from more clips and fills a GPU better.
"""

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import (
    ClipRequest,
    cheap_start,
    nearest_stored_frames,
    timeline_frames,
)
from kdbatch.run.models import VideoBackbone
from kdbatch.run.rng import balanced
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks import VCOP
from kdbatch.vocab.views import View


def orders_of(num_clips: int) -> np.ndarray:
    """Every order of the clips 0 .. V-1, shape (K, V), in lexicographic order: a label is a place
    in it.
    """
    return np.array(list(permutations(range(num_clips))))


def build_model(task: VCOP, backbone: VideoBackbone, copy: VideoBackbone) -> nn.Module:
    """The task's model; it keeps no second backbone."""
    return VCOPModel(task, backbone)


def chance_accuracy(task: VCOP, num_videos: int) -> float:
    """Share of orders told right by guessing."""
    return 1 / len(orders_of(task.num_clips))


def sample_clips(
    videos: Sequence[StoredVideo], task: VCOP, view: View, rng: np.random.Generator
) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
    """Per video a tuple of clips, `gap_frames` apart, at a uniform place; clip order[i] is shown at
    position i.
    """
    clip_frames = view.num_frames * view.stride_frames
    span = task.window_frames(clip_frames)
    label_B = balanced(len(orders_of(task.num_clips)), len(videos), rng)
    requests = []
    for video, order_V in zip(videos, orders_of(task.num_clips)[label_B], strict=True):
        start = cheap_start(
            video.sample, view, int(rng.integers(timeline_frames(video.sample, view) - span + 1))
        )
        time_VT = (
            start
            + order_V[:, None] * (clip_frames + task.gap_frames)
            + np.arange(view.num_frames) * view.stride_frames
        )
        requests.append(
            ClipRequest(
                frame_VT=nearest_stored_frames(video.sample, view, time_VT),
                draw_V=tuple(range(task.num_clips)),
            )
        )
    return requests, {"order": label_B}


class VCOPModel(nn.Module):
    """Backbone; one layer for each pair of clips, the same for all; dropout; one layer for all
    pairs: models/vcopn.py of the authors.
    """

    def __init__(self, task: VCOP, backbone: VideoBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.pairs = list(combinations(range(task.num_clips), 2))
        self.pair = nn.Linear(2 * backbone.feature_dim, task.hidden_dim)
        self.dropout = nn.Dropout(task.dropout)
        self.order = nn.Linear(len(self.pairs) * task.hidden_dim, len(orders_of(task.num_clips)))

    def forward(self, clip_VBCTHW: Tensor) -> Tensor:
        """Logits (B, K)."""
        feature_VBD = self.backbone.forward_pooled(clip_VBCTHW.flatten(0, 1)).unflatten(
            0, clip_VBCTHW.shape[:2]
        )
        pair_PBH = [
            self.pair(torch.cat([feature_VBD[i], feature_VBD[j]], 1)).relu() for i, j in self.pairs
        ]
        return self.order(self.dropout(torch.cat(pair_PBH, 1)))


def vcop_step(model: VCOPModel, clip_VBCTHW: Tensor, batch: Batch, task: VCOP) -> StepOutput:
    """Cross-entropy with the order."""
    label_B = batch.extra["order"].to(clip_VBCTHW.device, non_blocking=True)
    logit_BK = model(clip_VBCTHW).float()
    return StepOutput(
        loss=F.cross_entropy(logit_BK, label_B), report={"accuracy": accuracy_of(logit_BK, label_B)}
    )
