"""The networks of the study: their names, titles and costs. They are built in run/models/."""

from dataclasses import dataclass

from kdbatch.base.lookup import lookup


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Facts about a network that a plan or a report needs without importing torch.

    `gmac_per_clip` counts 10^9 multiply-adds of the forward pass of one clip of 3x16x112x112 at
    width 1.
    """

    title: str
    gmac_per_clip: float


BACKBONE_SPECS: dict[str, BackboneSpec] = {
    "r21d_10": BackboneSpec(title="R(2+1)D", gmac_per_clip=21.36),
    "r2plus1d_18": BackboneSpec(title="R(2+1)D-18", gmac_per_clip=40.52),
    "shufflenet_2x": BackboneSpec(title="ShuffleNet", gmac_per_clip=0.513),
}


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An architecture, a name of BACKBONE_SPECS, and its width; no weights.

    `width` scales every channel count; 1.0 is the published network.
    """

    kind: str
    width: float = 1.0

    def __post_init__(self) -> None:
        lookup(BACKBONE_SPECS, self.kind, where="kind")

    @property
    def title(self) -> str:
        return BACKBONE_SPECS[self.kind].title
