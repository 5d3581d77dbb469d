"""RSPNet, Chen et al. 2021, arXiv:2011.07949: relative speed perception (RSP) and appearance-focused video instance discrimination.

Axes: V=3 clips (q, k, k'), B videos, D embedding, Q queue. q and k have one speed, k' another; k and k' are cut from the same window with
the same augmentation, so that nothing but speed tells them apart. Differences from the authors' code, each for a stated reason: the place
of a clip in its window is random (theirs always starts the window, which ties speed 1 to the window's first half); speeds are drawn per
video; keys are normalised in two shuffled groups, which does on one device what shuffling over devices does there.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data import Batch, Video
from kdbatch.run.models import VideoBackbone
from kdbatch.run.sampling import Request, stored_frames, timeline_frames
from kdbatch.run.step import Step
from kdbatch.vocab.tasks import RSPNet
from kdbatch.vocab.views import View

NUM_BN_GROUPS = 2


def chance(task: RSPNet, num_videos: int) -> float:
    """Share of pairs ranked right by guessing, whatever the batch."""
    return 0.5


def choose(videos: Sequence[Video], task: RSPNet, view: View, rng: np.random.Generator) -> tuple[list[Request], dict[str, np.ndarray]]:
    """Two windows per video at independent places; clips q, k at speed s, k' at speed s'."""
    speed_B, other_B = draw_speeds(task, len(videos), rng)
    requests = []
    for video, speed, other in zip(videos, speed_B, other_B, strict=True):
        span = task.window_frames(view.num_frames * view.stride_frames)
        last = timeline_frames(video.sample, view) - span
        window_q, window_k = (int(v) for v in rng.integers(last + 1, size=2))
        clips = []
        for window, s in ((window_q, speed), (window_k, speed), (window_k, other)):
            step = int(s) * view.stride_frames
            place = int(rng.integers(span - (view.num_frames - 1) * step))
            clips.append(stored_frames(video.sample, view, window + place + np.arange(view.num_frames) * step))
        requests.append(Request(frame_VT=np.stack(clips), draw_V=(0, 1, 1)))
    return requests, {"speed": speed_B, "other": other_B}


def draw_speeds(task: RSPNet, num_videos: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(s, s') per video, s != s'. Every speed is s for an equal share of the batch, to within one."""
    speeds = np.asarray(task.speeds)
    place_B = rng.permutation(np.arange(num_videos) % len(speeds))
    other_B = (place_B + rng.integers(1, len(speeds), size=num_videos)) % len(speeds)
    return speeds[place_B], speeds[other_B]


class RSPNetModel(nn.Module):
    """Query encoder with two linear heads, key encoder as its moving average, queue of appearance keys."""

    queue_DQ: Tensor
    next_place: Tensor

    def __init__(self, task: RSPNet, backbone: VideoBackbone, key_backbone: VideoBackbone) -> None:
        super().__init__()
        dim = task.embedding_dim
        self.key_momentum = task.key_momentum
        self.backbone = backbone
        self.heads = nn.ModuleList([nn.Linear(backbone.feature_dim, dim) for _ in range(2)])  # motion, appearance
        self.key_backbone = key_backbone
        self.key_heads = nn.ModuleList([nn.Linear(backbone.feature_dim, dim) for _ in range(2)])
        self.key_backbone.load_state_dict(self.backbone.state_dict())
        self.key_heads.load_state_dict(self.heads.state_dict())
        for parameter in self.key_parameters():
            parameter.requires_grad_(False)
        self.register_buffer("queue_DQ", F.normalize(torch.randn(dim, task.queue_size), dim=0))
        self.register_buffer("next_place", torch.zeros((), dtype=torch.long))

    def key_parameters(self) -> list[nn.Parameter]:
        return [*self.key_backbone.parameters(), *self.key_heads.parameters()]

    def query(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Motion and appearance embeddings, each (B, D), of unit length."""
        return _embed(self.backbone, self.heads, clip_BCTHW)

    @torch.no_grad()
    def keys(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """As `query`, by the key encoder, batch-normalised in shuffled groups so that batch statistics do not give the pair away."""
        order = torch.randperm(len(clip_BCTHW)).to(clip_BCTHW.device)
        groups = [_embed(self.key_backbone, self.key_heads, clip_BCTHW[part]) for part in order.chunk(NUM_BN_GROUPS) if len(part)]
        back = order.argsort()
        return torch.cat([m for m, _ in groups])[back], torch.cat([a for _, a in groups])[back]

    @torch.no_grad()
    def follow(self) -> None:
        """key <- momentum * key + (1 - momentum) * query, parameters only: the key encoder's batch statistics are its own."""
        queries = [*self.backbone.parameters(), *self.heads.parameters()]
        for key, query in zip(self.key_parameters(), queries, strict=True):
            key.lerp_(query, 1 - self.key_momentum)

    @torch.no_grad()
    def enqueue(self, key_BD: Tensor) -> None:
        """Put keys in the place of the oldest ones."""
        place_B = (self.next_place + torch.arange(len(key_BD), device=key_BD.device)) % self.queue_DQ.shape[1]
        self.queue_DQ[:, place_B] = key_BD.T
        self.next_place.copy_((place_B[-1] + 1) % self.queue_DQ.shape[1])


def _embed(backbone: VideoBackbone, heads: nn.ModuleList, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
    feature_BD = backbone.forward_pooled(clip_BCTHW)
    motion, appearance = (F.normalize(head(feature_BD).float(), dim=1) for head in heads)
    return motion, appearance


def rspnet_step(model: RSPNetModel, clip_VBCTHW: Tensor, batch: Batch, task: RSPNet) -> Step:
    """RSP, a margin ranking on similarities over temperature, plus A-VID, InfoNCE with two positives; both with weight 1.

    As PeihaoChen/RSPNet: moco/builder_diffspeed_diffloss.py. The queue takes k' keys, after the loss.
    """
    clip_q, clip_k, clip_other = clip_VBCTHW
    motion_q, appearance_q = model.query(clip_q)
    model.follow()
    motion_k, appearance_k = model.keys(clip_k)
    motion_other, appearance_other = model.keys(clip_other)
    with torch.autocast(clip_q.device.type, enabled=False):
        gap_B = ((motion_q * motion_k).sum(1) - (motion_q * motion_other).sum(1)) / task.temperature
        ranking = F.relu(task.margin - gap_B).mean()
        negative_BQ = appearance_q @ model.queue_DQ.clone()
        first_B = torch.zeros(len(clip_q), dtype=torch.long, device=clip_q.device)
        logit_k, logit_other = (
            torch.cat([(appearance_q * key).sum(1, keepdim=True), negative_BQ], 1) / task.temperature
            for key in (appearance_k, appearance_other)
        )
        discrimination = F.cross_entropy(logit_k, first_B) + F.cross_entropy(logit_other, first_B)
    model.enqueue(appearance_other)
    accuracy = (gap_B > 0).float().mean()
    return Step(loss=ranking + discrimination, report={"accuracy": accuracy, "ranking": ranking, "discrimination": discrimination})
