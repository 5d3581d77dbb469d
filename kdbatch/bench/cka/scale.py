"""The size at which `kdbatch bench cka` measures. No torch: mistakes are reported at once."""

from dataclasses import dataclass

from kdbatch.base.errors import UserError
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
        if self.num_clips < 4 or self.num_frames < 1 or self.size_pixels < 1:
            raise UserError(
                "bench cka: --clips needs 4 or more, --frames and --pixels 1 or more, as in "
                "--clips=64 --frames=8 --pixels=32."
            )
        is_number = self.layers.isdigit() and int(self.layers) >= 3
        if not is_number and self.layers not in ("res", "act", "all"):
            raise UserError(
                f"--layers: found {self.layers!r}. Write res, act, all, or a number of layers from "
                "3 on, as in --layers=24."
            )
