"""The networks of the study: their names, titles and costs. They are built in run/models/."""

from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits, check_limits

Rate = Annotated[float, Limits("clips/s", least=0.001, most=1_000_000_000)]
"""A measured speed of training or of reading."""


@dataclass(frozen=True, kw_only=True)
class TrainingSpeed:
    """Clips of 3x16x112x112 per second that one H200 trains on, at width 1, in batches of 64 and
    bfloat16: `in_memory` without reading, `from_shards` with reading, on a machine of 16 cores.
    """

    in_memory: Rate
    from_shards: Rate


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """Facts about a network that a plan or a report needs without importing torch.

    `gmac_per_clip` counts 10^9 multiply-adds of the forward pass of one clip of 3x16x112x112 at
    width 1. `speed` is None where it was not measured.
    """

    title: str
    gmac_per_clip: Annotated[float, Limits("10^9 multiply-adds", least=0.001, most=1_000_000)]
    speed: TrainingSpeed | None = None


BACKBONE_SPECS: dict[str, BackboneSpec] = {
    "r21d_10": BackboneSpec(
        title="R(2+1)D",
        gmac_per_clip=21.36,
        speed=TrainingSpeed(in_memory=806.0, from_shards=642.0),
    ),
    # Not measured: the speed of r21d_10 in proportion to the multiply-adds, which reading then
    # does not limit.
    "r2plus1d_18": BackboneSpec(
        title="R(2+1)D-18",
        gmac_per_clip=40.52,
        speed=TrainingSpeed(in_memory=425.0, from_shards=425.0),
    ),
    "shufflenet_2x": BackboneSpec(
        title="ShuffleNet",
        gmac_per_clip=0.513,
        speed=TrainingSpeed(in_memory=1622.0, from_shards=540.0),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An architecture, a name of BACKBONE_SPECS, and its width; no weights.

    `width` scales every channel count; 1.0 is the published network.
    """

    kind: str
    width: Annotated[float, Limits("factor", least=0.005, most=32, advice="; 1 is usual")] = 1.0

    def __post_init__(self) -> None:
        lookup(BACKBONE_SPECS, self.kind, where="kind")
        check_limits(self)

    @property
    def title(self) -> str:
        return BACKBONE_SPECS[self.kind].title
