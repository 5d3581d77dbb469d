"""The two forms in which some layers compute: PyTorch's own layer, or one that suits a GPU better.

Both have the same parameters, names and outputs up to rounding. The fast forms were proved equal on
a CPU, in double precision, and are not yet measured on a GPU: where a measurement speaks against
one, remove its device from FAST_DEVICES.
"""

from typing import Literal

from torch import Tensor, nn

Form = Literal["auto", "plain", "fast"]
Piece = Literal["planes", "padding", "groups", "depthwise", "shortcut"]

FAST_DEVICES: dict[Piece, frozenset[str]] = {
    "planes": frozenset({"cuda"}),  # 1 x h x w and t x 1 x 1 convolutions as 2D convolutions
    "padding": frozenset({"cuda"}),  # zero channels up to a multiple of 8 between these
    "groups": frozenset({"cuda"}),  # grouped 1 x 1 x 1 convolutions as one matrix product
    "depthwise": frozenset({"cuda"}),  # shuffle and depthwise 3 x 3 x 3 in one Triton kernel
    "shortcut": frozenset({"cuda"}),  # the pool of halving units without a padded copy
}
"""The device types on which each piece computes in its fast form."""


class TwoForms:
    """The part that layers with two forms share. `form` is `auto` where the device decides."""

    form: Form = "auto"

    def is_fast(self, piece: Piece, input: Tensor) -> bool:
        """Whether the fast form of a piece computes this input."""
        return self.form == "fast" or (
            self.form == "auto" and input.device.type in FAST_DEVICES[piece]
        )


def set_form(model: nn.Module, form: Form) -> None:
    """Let all layers of `model` that have two forms compute in this one, on any device."""
    for module in model.modules():
        if isinstance(module, TwoForms):
            module.form = form
