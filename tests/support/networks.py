"""Small networks, batches of noise for them, and a recipe of distillation."""

import torch
from torch import Tensor, nn

from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

DATA = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=5, digest="x")
DISTILL = Distill(
    backbone=Backbone(kind="shufflenet_2x"),
    data=DATA,
    view=View(),
    schedule=Schedule(epochs=1, batch_clips=4, lr=0.1),
    evaluation=Evaluation(test=DATA),
)


def classifier(
    kind: str, *, width: float = 0.05, num_classes: int = 3, dropout: float = 0.0
) -> Classifier:
    """One of the study's networks, as narrow as possible by default."""
    backbone = build_backbone(Backbone(kind=kind, width=width))
    return Classifier(backbone, num_classes=num_classes, dropout=dropout)


def noise(num_clips: int, *, num_frames: int = 4, size_pixels: int = 24) -> Tensor:
    return torch.randn(num_clips, 3, num_frames, size_pixels, size_pixels)


class LoudNet(nn.Module):
    """Two convolutions; the first adds `offset`, which is about that many standard deviations."""

    def __init__(self, num_channels: int = 8, *, offset: float = 100.0) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, num_channels, 3)
        self.second = nn.Conv3d(num_channels, 5, 1)
        self.first.bias = nn.Parameter(torch.full((num_channels,), offset))
        self.num_calls = 0

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        self.num_calls += 1
        return self.second(self.first(clip_BCTHW))

    def maps(self, clip_BCTHW: Tensor) -> list[Tensor]:
        """The maps that hooks see, in order."""
        first = self.first(clip_BCTHW)
        return [first.detach(), self.second(first).detach()]
