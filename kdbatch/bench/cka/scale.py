"""The size at which `kdbatch bench cka` measures. No torch: mistakes are reported at once."""

import re
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown
from kdbatch.vocab.backbones import Backbone


@dataclass(frozen=True, kw_only=True)
class CkaScale:
    """Network, layers and clips. `layers` is a layer set, or a number of convolutions, batch norms
    and ReLUs that are spread evenly over the network.
    """

    backbone: Backbone
    layers: str
    num_clips: int
    num_frames: int
    size_pixels: int

    def __post_init__(self) -> None:
        is_number = re.fullmatch("[0-9]{1,6}", self.layers) and int(self.layers) >= 3
        if not is_number and self.layers not in ("res", "act", "all"):
            raise UserError(
                f"--layers: found {shown(self.layers)}. Write res, act, all, or a number of layers "
                "from 3 on, as in --layers=24."
            )
