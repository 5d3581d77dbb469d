"""What `kdbatch bench cka` compares. Known before torch is imported, so that a slip is told at
once.
"""

from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.vocab.backbones import Backbone


@dataclass(frozen=True, kw_only=True)
class CkaScale:
    """What is compared: `layers` is a layer set, or how many convolutions, batch norms and ReLUs,
    evenly spread over the network.
    """

    backbone: Backbone
    layers: str
    num_clips: int
    num_frames: int
    size_pixels: int

    def __post_init__(self) -> None:
        if self.num_clips < 4 or self.num_frames < 1 or self.size_pixels < 1:
            raise UserError(
                "bench cka: --clips needs 4 or more, --frames and --pixels 1 or more, as in --clips=64 --frames=8 --pixels=32."
            )
        if self.layers not in ("res", "act", "all") and not (
            self.layers.isdigit() and int(self.layers) >= 3
        ):
            raise UserError(
                f"--layers: found {self.layers!r}. Write res, act, all, or a number of layers from 3 on, as in --layers=24."
            )
