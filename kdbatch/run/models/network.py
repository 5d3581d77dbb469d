"""The form of every backbone (named layers and a global average pool), and a classifier on it.

Axes: B clips, D features, K classes.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn


class VideoBackbone(nn.Module):
    """A backbone without its head.

    `layers` run in order and keep their names in the state dict; of the one named `unrolled`, a
    Sequential, each part is such a layer: `features.0`. The last of them returns the map that heads
    read, whose channels are `feature_dim`. `tokens` are layers that return channels last, (B, T, H,
    W, D): outside of the backbone every map has them first. `stem` names the stem's outputs,
    `units` the modules that end in a merge, or the blocks of a network without any: together with
    the pool they are the layers at which networks are compared. `attentions` names the modules that
    compute attention. `compiled` computes what `run_layers` does (run/compilation/): a function
    without a module of its own, so that a copy of the backbone computes with its own weights.
    """

    compiled: "CompiledLayers | None" = None

    def __init__(
        self,
        layers: Mapping[str, nn.Module],
        *,
        stem: tuple[str, ...],
        units: tuple[str, ...],
        feature_dim: int,
        attentions: tuple[str, ...] = (),
        unrolled: str = "",
        tokens: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.layer_names = tuple(
            f"{name}.{i}" if name == unrolled else name
            for name, layer in layers.items()
            for i in range(len(layer) if name == unrolled else 1)  # pyright: ignore[reportArgumentType]
        )
        self.stem_names = stem
        self.unit_names = units
        self.attention_names = attentions
        self.token_names = frozenset(tokens)
        self.feature_dim = feature_dim
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.pool = nn.AdaptiveAvgPool3d(1)
        # Measured on one CPU thread: 1.1 to 1.7 times the clips per second.
        self.to(memory_format=torch.channels_last_3d)

    def forward_features(self, clip_BCTHW: Tensor) -> Tensor:
        """The last feature map, (B, D, T', H', W')."""
        return self.forward_maps(clip_BCTHW, ())[0]

    def forward_maps(
        self, clip_BCTHW: Tensor, names: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The last feature map, and those after the layers of these names."""
        run = VideoBackbone.run_layers if self.compiled is None else self.compiled
        return run(self, clip_BCTHW, tuple(names))

    def run_layers(
        self, clip_BCTHW: Tensor, names: tuple[str, ...]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`forward_maps` without a compiler."""
        out = map_BDTHW = clip_BCTHW
        maps = {}
        for name in self.layer_names:
            out = self.get_submodule(name)(out)
            map_BDTHW = out.movedim(-1, 1) if name in self.token_names else out
            if name in names:
                maps[name] = map_BDTHW
        return map_BDTHW, maps

    def forward_pooled(self, clip_BCTHW: Tensor) -> Tensor:
        """The mean of the last feature map over space and time, (B, D)."""
        return self.pool(self.forward_features(clip_BCTHW)).flatten(1)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.forward_pooled(clip_BCTHW)


CompiledLayers = Callable[
    [VideoBackbone, Tensor, tuple[str, ...]], tuple[Tensor, dict[str, Tensor]]
]
"""The type of a compiled `run_layers`."""


class Classifier(nn.Module):
    """Backbone, dropout and one linear layer; returns logits (B, K)."""

    def __init__(self, backbone: VideoBackbone, *, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(backbone.feature_dim, num_classes)
        self.is_frozen = False

    def freeze_backbone(self) -> None:
        """Train the head alone: the backbone gets no gradient and keeps its batch statistics."""
        self.is_frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.is_frozen:
            self.backbone.eval()
        return self

    def forward_head(self, map_BDTHW: Tensor) -> Tensor:
        """Logits from the backbone's last feature map."""
        return self.fc(self.dropout(self.backbone.pool(map_BDTHW).flatten(1)))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.forward_head(self.backbone.forward_features(clip_BCTHW))


def scaled_channels(num_channels: int, width: float, *, multiple: int = 1) -> int:
    """`width` times as many channels, rounded to a positive multiple."""
    return max(1, round(num_channels * width / multiple)) * multiple
