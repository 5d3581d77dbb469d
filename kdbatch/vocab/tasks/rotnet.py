"""RotNet: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.tasks.spec import ROTATED_AND_RECOLOURED, Complexity, TaskSpec


@dataclass(frozen=True, kw_only=True)
class RotNet:
    """Predict by which right angle a clip was rotated, Jing et al. 2018, arXiv:1811.11387."""

    name: Literal["rotnet"] = "rotnet"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    quarters: tuple[Annotated[int, Limits("quarters", least=0, most=3)], ...] = (0, 1)
    """Rotations to tell apart, in quarters of a full one, counter-clockwise; two or more."""
    hidden_dim: Annotated[int, Limits("channels", least=1, most=65_536)] = 64
    """Channels of the head's hidden layer."""

    def __post_init__(self) -> None:
        check_limits(self)
        if len(self.quarters) < 2 or len(set(self.quarters)) < len(self.quarters):
            raise UserError(
                f"quarters: found {list(self.quarters)}. Write two or more different ones of "
                "0, 1, 2, 3."
            )

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return len(self.quarters), 0


def at_complexity(complexity: Complexity) -> RotNet:
    """2, 3 or 4 rotations, as the study has them.

    The study does not state the angles: ours are the first ones of the source's list.
    """
    return RotNet(complexity=complexity, quarters=(0, 1, 2, 3)[: complexity + 1])


# The source: lr 0.1 for 32 videos in 4 rotations, 128 clips: as many as 64 videos have in the 2
# rotations of complexity 1. The other complexities have more copies of the same videos per step,
# not more videos, so they have the same rate.
SPEC = TaskSpec(
    title="RotNet",
    parameters=RotNet,
    at_complexity=at_complexity,
    augment=ROTATED_AND_RECOLOURED,
    lr=0.1,
    lr_of={},
    weight_decay=1e-3,
    trains_on_copies=True,
)
