"""A query encoder, its moving average and a queue of keys (MoCo, He et al. 2020, arXiv:1911.05722).

Sections 3.2 and 3.3 of the source. Axes: V clips per video, B videos of this process, N of all
processes, M = V * B clips, H heads, D embedding, Q queue.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.distributed.collectives import all_gather_with_grad, permute_rows
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.tasks.pretext import MakeBackbone

MIN_GROUPS = 2


class MomentumEncoders(nn.Module):
    """Query and key encoder, each a backbone with linear heads, and a queue of one head's keys.

    Only the query encoder has gradients. Names of the key encoder's entries start with `key_`.
    """

    def __init__(
        self,
        make_backbone: MakeBackbone,
        group: ProcessGroup,
        *,
        num_heads: int,
        embedding_dim: int,
        queue_size: int,
        key_momentum: float,
    ) -> None:
        super().__init__()
        self.group = group
        self.key_momentum = key_momentum
        self.backbone = make_backbone()
        self.key_backbone = make_backbone()
        feature_dim = self.backbone.feature_dim
        self.heads = _linear_heads(num_heads, feature_dim, embedding_dim)
        self.key_heads = _linear_heads(num_heads, feature_dim, embedding_dim)
        self.key_backbone.load_state_dict(self.backbone.state_dict())
        self.key_heads.load_state_dict(self.heads.state_dict())
        for parameter in self.key_parameters():
            parameter.requires_grad_(False)
        for module in self.key_backbone.modules():
            if isinstance(module, nn.Dropout):  # keys are targets: the same on any number of ranks
                module.p = 0.0
        self.queue = KeyQueue(queue_size, embedding_dim)

    def query_parameters(self) -> list[nn.Parameter]:
        return [*self.backbone.parameters(), *self.heads.parameters()]

    def key_parameters(self) -> list[nn.Parameter]:
        return [*self.key_backbone.parameters(), *self.key_heads.parameters()]

    def query(self, clip_BCTHW: Tensor) -> Tensor:
        """One embedding per head, shape (H, B, D), of unit length."""
        return _embed(self.backbone, self.heads, clip_BCTHW)

    @torch.no_grad()
    def keys(self, clip_VBCTHW: Tensor) -> Tensor:
        """As `query`, by the key encoder, of V clips per video, shape (V, H, B, D).

        Keys are batch-normalised in groups of videos, drawn at every call from the videos of all
        processes; the clips of a video stay together. In a batch of its own, a key could be
        recognised by the statistics that it shares with its query (He et al., section 3.3,
        "shuffling BN"). There are as many groups as processes, and two where there is one, so two
        processes compute what one does; more of them have smaller groups, which is another
        computation. Clips that are compared with each other have to be in one group: the noise of a
        small group's statistics is larger than the difference between them.
        """
        world_size = self.group.world_size
        num_videos = world_size * clip_VBCTHW.shape[1]
        # Equal on all ranks: they are seeded alike at every step (run/train/loop.py).
        order_N = torch.randperm(num_videos)
        # At least two videos a group: of one alone, a channel may have a single value.
        num_groups = max(1, min(MIN_GROUPS, num_videos // 2) // world_size)
        clip_BVCTHW = permute_rows(clip_VBCTHW.transpose(0, 1), order_N, self.group)
        key_BVHD = self._keys_by_group(clip_BVCTHW, num_groups)
        return permute_rows(key_BVHD, order_N.argsort(), self.group).permute(1, 2, 0, 3)

    def _keys_by_group(self, clip_BVCTHW: Tensor, num_groups: int) -> Tensor:
        """Keys (B, V, H, D); group g has the videos g, g + num_groups, g + 2 * num_groups, ..."""
        keys, positions = [], []
        for group in range(num_groups):
            some_BVCTHW = clip_BVCTHW[group::num_groups]
            key_HMD = _embed(self.key_backbone, self.key_heads, some_BVCTHW.flatten(0, 1))
            keys.append(key_HMD.unflatten(1, some_BVCTHW.shape[:2]).permute(1, 2, 0, 3))
            positions.append(torch.arange(len(clip_BVCTHW))[group::num_groups])
        position_B = torch.cat(positions)
        return torch.cat(keys)[position_B.argsort().to(clip_BVCTHW.device, non_blocking=True)]

    @torch.no_grad()
    def update_key_encoder(self) -> None:
        """key <- momentum * key + (1 - momentum) * query, parameters only.

        The key encoder's batch statistics are its own.
        """
        for key, query in zip(self.key_parameters(), self.query_parameters(), strict=True):
            key.lerp_(query, 1 - self.key_momentum)

    @torch.no_grad()
    def enqueue(self, key_BD: Tensor, video_B: Tensor) -> None:
        """Put the keys of all ranks into the queue, in the order of the batch."""
        key_ND = all_gather_with_grad(key_BD, self.group)
        self.queue.push(key_ND, all_gather_with_grad(video_B, self.group))


class KeyQueue(nn.Module):
    """The last Q keys and the video of each, equal on all ranks.

    It starts with random unit vectors of no video.
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
        """Shape (B, Q); minus infinity for keys of the query's own video: they are no negatives."""
        # A clone, because the backward pass needs the keys as they are now.
        similarity_BQ = query_BD @ self.key_QD.clone().T
        return similarity_BQ.masked_fill(video_B[:, None] == self.video_Q, -torch.inf)

    @torch.no_grad()
    def push(self, key_ND: Tensor, video_N: Tensor) -> None:
        """Overwrite the oldest keys with the last Q of `key_ND`."""
        size = len(self.key_QD)
        key_ND, video_N = key_ND[-size:], video_N[-size:]
        index_N = (self.next_place + torch.arange(len(key_ND), device=key_ND.device)) % size
        self.key_QD[index_N] = key_ND
        self.video_Q[index_N] = video_N
        self.next_place.copy_((self.next_place + len(key_ND)) % size)


def info_nce(positive_B: Tensor, negative_BQ: Tensor, *, temperature: float) -> Tensor:
    """Mean of -log softmax of the positive among positive and negatives.

    InfoNCE: van den Oord et al. 2018, arXiv:1807.03748.
    """
    logit_BQ = torch.cat([positive_B[:, None], negative_BQ], 1) / temperature
    first_B = torch.zeros(len(logit_BQ), dtype=torch.long, device=logit_BQ.device)
    return F.cross_entropy(logit_BQ, first_B)


def _linear_heads(num_heads: int, feature_dim: int, embedding_dim: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(feature_dim, embedding_dim) for _ in range(num_heads))


def _embed(backbone: VideoBackbone, heads: nn.ModuleList, clip_BCTHW: Tensor) -> Tensor:
    feature_BD = backbone.forward_pooled(clip_BCTHW)
    return F.normalize(torch.stack([head(feature_BD) for head in heads]).float(), dim=-1)
