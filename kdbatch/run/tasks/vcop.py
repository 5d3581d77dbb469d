"""VCOP, Xu et al., CVPR 2019: predict the order of shuffled clips of a video.

"Self-supervised spatiotemporal learning via video clip order prediction".

Axes: V clips of a tuple, B videos, D features, P = V*(V-1)/2 pairs, K = V! orders, H hidden. Each
clip of a tuple has augmentation parameters of its own: crop position, angle, flip and colours, so
that nothing but the content connects one clip with the next.

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
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.rng import balanced_labels
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks.vcop import VCOP
from kdbatch.vocab.views import View


def clip_orders(num_clips: int) -> np.ndarray:
    """Every order of the clips 0 .. V-1, shape (K, V), in lexicographic order.

    A label is the index of a row.
    """
    return np.array(list(permutations(range(num_clips))))


def chance_accuracy(task: VCOP, num_videos: int) -> float:
    """One of K orders."""
    return 1 / len(clip_orders(task.num_clips))


def sample_clips(
    videos: Sequence[StoredVideo], task: VCOP, view: View, rng: np.random.Generator
) -> SampledClips:
    """Per video a tuple of clips, `gap_frames` apart, at a uniform start, in a random order.

    Clip order[i] is shown at position i.
    """
    clip_frames = view.num_frames * view.stride_frames
    span = task.window_frames(clip_frames)
    order_KV = clip_orders(task.num_clips)
    label_B = balanced_labels(len(order_KV), len(videos), rng)
    requests = []
    for video, order_V in zip(videos, order_KV[label_B], strict=True):
        num_starts = timeline_frames(video.sample, view) - span + 1
        start = cheap_start(video.sample, view, int(rng.integers(num_starts)))
        start_V = start + order_V * (clip_frames + task.gap_frames)
        time_VT = start_V[:, None] + np.arange(view.num_frames) * view.stride_frames
        requests.append(
            ClipRequest(
                frame_VT=nearest_stored_frames(video.sample, view, time_VT),
                draw_V=tuple(range(task.num_clips)),
            )
        )
    return requests, {"order": label_B}


def build_model(task: VCOP, make_backbone: MakeBackbone, group: ProcessGroup) -> "VCOPModel":
    return VCOPModel(task, make_backbone())


class VCOPModel(nn.Module):
    """Backbone, a layer for pairs of clips, dropout, a layer for all pairs: the authors' vcopn.py.

    One layer serves every pair.
    """

    def __init__(self, task: VCOP, backbone: VideoBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.pairs = list(combinations(range(task.num_clips), 2))
        self.pair = nn.Linear(2 * backbone.feature_dim, task.hidden_dim)
        self.dropout = nn.Dropout(task.dropout)
        self.order = nn.Linear(len(self.pairs) * task.hidden_dim, len(clip_orders(task.num_clips)))

    def forward(self, clip_VBCTHW: Tensor) -> Tensor:
        """Logits (B, K)."""
        feature_ND = self.backbone.forward_pooled(clip_VBCTHW.flatten(0, 1))
        feature_VBD = feature_ND.unflatten(0, clip_VBCTHW.shape[:2])
        pair_PBH = [
            self.pair(torch.cat([feature_VBD[i], feature_VBD[j]], 1)).relu() for i, j in self.pairs
        ]
        return self.order(self.dropout(torch.cat(pair_PBH, 1)))


def vcop_step(model: VCOPModel, clip_VBCTHW: Tensor, batch: Batch, task: VCOP) -> StepOutput:
    """Cross-entropy with the order."""
    label_B = batch.extra["order"].to(clip_VBCTHW.device, non_blocking=True)
    logit_BK = model(clip_VBCTHW).float()
    report = {"accuracy": accuracy_of(logit_BK, label_B)}
    return StepOutput(loss=F.cross_entropy(logit_BK, label_B), report=report)


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=vcop_step,
    chance_accuracy=chance_accuracy,
)
