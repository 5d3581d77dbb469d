"""The networks of the study: their names, titles and costs. They are built in run/models/."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.extensions.spec_table import SpecTable

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
    width 1, as run/models/multiply_adds.py counts them. `speed` is None where it was not measured:
    it is then assumed to be that of `speed_like`, a network of similar layers whose speed was
    measured, in proportion to the multiply-adds. `layers` are those whose maps a feature loss may
    name, in order. Clips of at most `position`, frames and pixels, are one position of the last
    map that is normalised; the default stands for unknown. `load` returns the function that
    builds a network of another distribution, which has the argument `width`.
    """

    title: str
    gmac_per_clip: Annotated[float, Limits("10^9 multiply-adds", least=0.001, most=1_000_000)]
    speed: TrainingSpeed | None = None
    speed_like: str = ""
    layers: tuple[str, ...] = ()
    position: tuple[
        Annotated[int, Limits("frames", least=0, most=100_000)],
        Annotated[int, Limits("pixels", least=0, most=100_000)],
    ] = (0, 0)
    load: Callable[..., Any] | None = None


def _parts(name: str, number: int) -> tuple[str, ...]:
    return tuple(f"{name}.{i}" for i in range(number))


_BUILT_IN: dict[str, BackboneSpec] = {
    "r21d_10": BackboneSpec(
        title="R(2+1)D",
        gmac_per_clip=21.36,
        speed=TrainingSpeed(in_memory=806.0, from_shards=642.0),
        layers=("conv1", "bn1", "relu1", "conv2", "conv3", "conv4", "conv5"),
        position=(8, 16),
    ),
    "r2plus1d_18": BackboneSpec(
        title="R(2+1)D-18",
        gmac_per_clip=40.52,
        speed_like="r21d_10",
        layers=("stem", "layer1", "layer2", "layer3", "layer4"),
        position=(8, 16),
    ),
    "shufflenet_2x": BackboneSpec(
        title="ShuffleNet",
        gmac_per_clip=0.513,
        speed=TrainingSpeed(in_memory=1622.0, from_shards=540.0),
        layers=("conv1", "maxpool", "layer1", "layer2", "layer3"),
        position=(16, 32),
    ),
    "r3d_18": BackboneSpec(
        title="R3D-18",
        gmac_per_clip=40.70,
        speed_like="r21d_10",
        layers=("stem", "layer1", "layer2", "layer3", "layer4"),
        position=(8, 16),
    ),
    "c3d": BackboneSpec(
        title="C3D",
        gmac_per_clip=32.95,
        speed_like="r21d_10",
        layers=("group1", "group2", "group3", "group4", "group5"),
        position=(8, 16),
    ),
    # Of few channels or depthwise: memory traffic limits these, as it does ShuffleNet.
    "mobilenet3d": BackboneSpec(
        title="MobileNetV2",
        gmac_per_clip=0.518,
        speed_like="shufflenet_2x",
        layers=_parts("features", 19),
        position=(16, 32),
    ),
    "squeezenet3d": BackboneSpec(
        title="SqueezeNet",
        gmac_per_clip=0.898,
        speed_like="shufflenet_2x",
        layers=_parts("features", 15),
        position=(16, 32),
    ),
    "swin3d_t": BackboneSpec(
        title="Swin-T",
        gmac_per_clip=11.36,
        speed_like="r21d_10",
        layers=("patch_embed", *_parts("features", 7), "norm"),
    ),
}
BACKBONE_SPECS = SpecTable(_BUILT_IN, kind=BackboneSpec, group="kdbatch.backbones")


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
