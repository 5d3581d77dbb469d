"""The networks of the study by name. What they are made of is in run/models/."""

from dataclasses import dataclass
from typing import Literal

BackboneKind = Literal["r21d_10", "r2plus1d_18", "shufflenet_2x"]


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """An architecture and its width, no weights. `width` scales every channel count; 1.0 is the
    published network.
    """

    kind: BackboneKind
    width: float = 1.0


BACKBONE_TITLES: dict[str, str] = {
    "r21d_10": "R(2+1)D",
    "r2plus1d_18": "R(2+1)D-18",
    "shufflenet_2x": "ShuffleNet",
}
