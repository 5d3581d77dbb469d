"""Colour parameters of clips as `apply_colour` takes them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdbatch.run.data.augment_params import AugmentParams


def colour_values(draws: Sequence[AugmentParams]) -> dict[str, Tensor]:
    """One tensor per parameter, with its value for each clip."""
    names = ("brightness", "contrast", "saturation", "hue", "gray")
    return {f"{name}_B": torch.tensor([float(getattr(d, name)) for d in draws]) for name in names}
