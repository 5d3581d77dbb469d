"""VCOP: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.tasks.spec import ROTATED_AND_RECOLOURED, Complexity, TaskSpec


@dataclass(frozen=True, kw_only=True)
class VCOP:
    """Predict the order of shuffled clips of one video, Xu et al., CVPR 2019."""

    name: Literal["vcop"] = "vcop"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    num_clips: Annotated[int, Limits("clips", least=2, most=6)] = 3
    """Clips whose order is predicted."""
    gap_frames: Annotated[int, Limits("frames", least=0, most=100_000)] = 8
    """Distance between two clips on the timeline."""
    hidden_dim: Annotated[int, Limits("channels", least=1, most=65_536)] = 512
    """Channels of the head's hidden layer."""
    dropout: Annotated[float, Limits("share", least=0, below=1)] = 0.5
    """Share of the head's features that dropout sets to zero."""

    def __post_init__(self) -> None:
        check_limits(self)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return self.num_clips * clip_frames + (self.num_clips - 1) * self.gap_frames

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return self.num_clips, 0


def at_complexity(complexity: Complexity) -> VCOP:
    """3, 4 or 5 clips, as the study has them: 6, 24 or 120 orders."""
    return VCOP(complexity=complexity, num_clips=complexity + 2)


# The source: lr 0.001 for 8 videos, each with its tuple of clips; here in proportion.
SPEC = TaskSpec(
    title="VCOP",
    parameters=VCOP,
    at_complexity=at_complexity,
    augment=ROTATED_AND_RECOLOURED,
    lr=0.008,
    lr_of={},
    weight_decay=5e-4,
)
