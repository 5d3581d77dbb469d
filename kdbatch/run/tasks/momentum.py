"""A query encoder, its moving average, and a queue of keys: He et al. 2020 (MoCo),
arXiv:1911.05722, sections 3.2 and 3.3.

Axes: V clips per video, B videos of this process, N of all processes, M = V * B clips, H heads, D
embedding, Q queue.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.distributed.collectives import (
    all_gather_with_grad,
    permute_rows,
    rank_and_world_size,
)
from kdbatch.run.models import VideoBackbone

MIN_GROUPS = 2


class MomentumEncoders(nn.Module):
    """Query and key encoder, each a backbone with `num_heads` linear heads, and the queue of one
    head's keys.

    Only the query encoder has gradients. What the names of belongs to the key encoder begins with
    `key_`.
    """

    def __init__(
        self,
        backbone: VideoBackbone,
        key_backbone: VideoBackbone,
        *,
        num_heads: int,
        embedding_dim: int,
        queue_size: int,
        key_momentum: float,
    ) -> None:
        super().__init__()
        self.key_momentum = key_momentum
        self.backbone = backbone
        self.heads = nn.ModuleList(
            [nn.Linear(backbone.feature_dim, embedding_dim) for _ in range(num_heads)]
        )
        self.key_backbone = key_backbone
        self.key_heads = nn.ModuleList(
            [nn.Linear(backbone.feature_dim, embedding_dim) for _ in range(num_heads)]
        )
        self.key_backbone.load_state_dict(self.backbone.state_dict())
        self.key_heads.load_state_dict(self.heads.state_dict())
        for parameter in self.key_parameters():
            parameter.requires_grad_(False)
        self.queue = KeyQueue(queue_size, embedding_dim)

    def query_parameters(self) -> list[nn.Parameter]:
        return [*self.backbone.parameters(), *self.heads.parameters()]

    def key_parameters(self) -> list[nn.Parameter]:
        return [*self.key_backbone.parameters(), *self.key_heads.parameters()]

    def query(self, clip_BCTHW: Tensor) -> Tensor:
        """One embedding per head, shape (H, B, D), of unit length."""
        return _embedded(self.backbone, self.heads, clip_BCTHW)

    @torch.no_grad()
    def keys(self, clip_VBCTHW: Tensor) -> Tensor:
        """As `query`, by the key encoder, of V clips per video, shape (V, H, B, D);
        batch-normalised in groups of videos that are drawn anew from the videos of all processes,
        the clips of a video together.

        In a batch of its own a key could be told by the statistics that it shares with its query
        (He et al., section 3.3, "shuffling BN"). There are as many groups as processes, and two
        where there is one, so two processes compute what one does; more of them have smaller
        groups, which is another computation. Clips that are compared with each other have to be in
        one group: the noise of a small group's statistics is larger than what tells them apart.
        """
        _, world_size = rank_and_world_size()
        num_videos = world_size * clip_VBCTHW.shape[1]
        order_N = torch.randperm(
            num_videos
            # the same in every process: all are seeded alike at every step (kdbatch/run/train/loop.py)
        )
        num_groups = max(
            1, min(MIN_GROUPS, num_videos // 2) // world_size
        )  # a clip alone may be a single value per channel
        clip_BVCTHW = permute_rows(clip_VBCTHW.transpose(0, 1), order_N)
        keys = []
        for group in range(num_groups):
            some_BVCTHW = clip_BVCTHW[group::num_groups]
            key_HMD = _embedded(self.key_backbone, self.key_heads, some_BVCTHW.flatten(0, 1))
            keys.append(key_HMD.unflatten(1, some_BVCTHW.shape[:2]).permute(1, 2, 0, 3))
        place_B = torch.cat(
            [torch.arange(len(clip_BVCTHW))[group::num_groups] for group in range(num_groups)]
        )
        key_BVHD = torch.cat(keys)[place_B.argsort().to(clip_BVCTHW.device, non_blocking=True)]
        return permute_rows(key_BVHD, order_N.argsort()).permute(1, 2, 0, 3)

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """key <- momentum * key + (1 - momentum) * query, parameters only: the key encoder's batch
        statistics are its own.
        """
        for key, query in zip(self.key_parameters(), self.query_parameters(), strict=True):
            key.lerp_(query, 1 - self.key_momentum)


class KeyQueue(nn.Module):
    """The last Q keys, equal in all processes, and the video that each is of; random unit vectors
    of no video at first.
    """

    key_QD: Tensor
    video_Q: Tensor
    next_place: Tensor

    def __init__(self, size: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("key_QD", F.normalize(torch.randn(size, embedding_dim), dim=1))
        self.register_buffer("video_Q", torch.full((size,), -1))
        self.register_buffer("next_place", torch.zeros((), dtype=torch.long))

    def similarities(self, query_BD: Tensor, video_B: Tensor) -> Tensor:
        """Shape (B, Q); minus infinity where the key is of the query's own video, which is no
        negative.
        """
        similarity_BQ = query_BD @ self.key_QD.clone().T  # the backward pass needs the keys of now
        return similarity_BQ.masked_fill(video_B[:, None] == self.video_Q, -torch.inf)

    @torch.no_grad()
    def push(self, key_BD: Tensor, video_B: Tensor) -> None:
        """Put the keys of all processes in the place of the oldest ones."""
        size = len(self.key_QD)
        key_ND, video_N = (
            all_gather_with_grad(key_BD)[-size:],
            all_gather_with_grad(video_B)[-size:],
        )
        place_N = (self.next_place + torch.arange(len(key_ND), device=key_ND.device)) % size
        self.key_QD[place_N] = key_ND
        self.video_Q[place_N] = video_N
        self.next_place.copy_((self.next_place + len(key_ND)) % size)


def info_nce(positive_B: Tensor, negative_BQ: Tensor, *, temperature: float) -> Tensor:
    """Mean of -log softmax of the positive among positive and negatives. Van den Oord et al. 2018,
    arXiv:1807.03748, eq. 4.
    """
    logit_BQ = torch.cat([positive_B[:, None], negative_BQ], 1) / temperature
    return F.cross_entropy(
        logit_BQ, torch.zeros(len(logit_BQ), dtype=torch.long, device=logit_BQ.device)
    )


def _embedded(backbone: VideoBackbone, heads: nn.ModuleList, clip_BCTHW: Tensor) -> Tensor:
    feature_BD = backbone.forward_pooled(clip_BCTHW)
    return F.normalize(torch.stack([head(feature_BD) for head in heads]).float(), dim=-1)
