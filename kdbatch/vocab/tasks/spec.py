"""The specification of a pretext task, and augmentations and checks that tasks share."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from kdbatch.vocab.views import SQUARE_SIDE, Augment

Complexity = Literal[1, 2, 3]


class PretextParameters(Protocol):
    """The members of every task's dataclass of parameters; its fields are hashed into run ids."""

    @property
    def name(self) -> str: ...

    @property
    def complexity(self) -> Complexity: ...

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames of the timeline that a video must have."""
        ...

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips per video and step that are trained on, and clips that have no gradient."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A pretext task: its parameters, its ladder, and the training that its source used.

    `parameters` is the class of `PretextParameters` that a recipe's `task` is read as;
    `at_complexity` returns one for a step of the ladder. `lr` is per 64 videos of a batch; `lr_of`
    overrides it by backbone. A task that `needs_whole_batch` compares the clips of a batch, or
    updates a key encoder and a queue once per batch; one that `compares_batch` learns from nothing
    else than the other videos of a batch. A task that `trains_on_copies` reads one clip
    of a video and makes the others from it. A task that judges speed has a
    `finest_step`: for its parameters and a view's stride, the smallest distance on the timeline of
    two frames that it reads, over all of its speeds. `load` returns the `Pretext` of a
    task of another distribution.
    """

    title: str
    parameters: type[PretextParameters]
    at_complexity: Callable[[Complexity], Any]
    augment: Augment
    lr: float
    weight_decay: float
    lr_of: dict[str, float]
    needs_whole_batch: bool = False
    compares_batch: bool = False
    trains_on_copies: bool = False
    finest_step: Callable[[Any, int], int] | None = None
    load: Callable[..., Any] | None = None


ROTATED = Augment(crop="random", square_side=SQUARE_SIDE, rotation_degrees=10.0)
ROTATED_AND_RECOLOURED = replace(
    ROTATED, jitter_probability=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1
)
"""The study's augmentation for RotNet and VCOP: small rotation, crop of 112 from 128 pixels, flips,
colours. PRP's is ROTATED, without colours.

RotNet's source rotates by up to 10 degrees; the strengths of the colours are ours, since the study
states none. PRP has no colour changes, as in its source: a rate shows in how much a frame differs
from the next, and a change of contrast or brightness changes that as well.
"""
