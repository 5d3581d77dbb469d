"""What every pretext task says of itself beside its parameters."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.views import SQUARE_SIDE, Augment

Complexity = Literal[1, 2, 3]


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A pretext task's ladder and the training that its source used.

    `at` gives the task's parameters at a complexity. `lr` is per 64 videos of a batch; `lr_of`
    overrides it by backbone. A task that `needs_whole_batch` learns from comparisons within it, or
    moves a key encoder and a queue once per batch.
    """

    title: str
    at_complexity: Callable[[Complexity], Any]
    augment: Augment
    lr: float
    weight_decay: float
    lr_of: dict[str, float]
    needs_whole_batch: bool = False


STEADY = Augment(crop="random", square_side=SQUARE_SIDE, rotation_degrees=10.0)
TURNED = replace(
    STEADY, jitter_probability=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
)
"""What the study does to clips for RotNet, VCOP and PRP: a small rotation, a crop of 112 from 128
pixels, flips, colours. RotNet's source turns by up to 10 degrees; the strengths of the colours are
ours, since the study states none. PRP's are 0, as in its source: what tells a rate is how much a
frame differs from the next, and a change of contrast or brightness changes that as well.
"""


def check_contrast(temperature: float, embedding_dim: int) -> None:
    if not 0 < temperature < float("inf") or embedding_dim < 1:
        raise UserError(
            "temperature, embedding_dim: write a number above 0 and 1 dimension or more."
        )


def check_keys(queue_size: int, key_momentum: float) -> None:
    if queue_size < 1 or not 0 <= key_momentum <= 1:
        raise UserError("queue_size, key_momentum: write 1 key or more and a share from 0 to 1.")
