"""VCOP: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.tasks.spec import ROTATED_AND_RECOLOURED, Complexity, TaskSpec


@dataclass(frozen=True, kw_only=True)
class VCOP:
    """Predict the order of shuffled clips of one video, Xu et al., CVPR 2019.

    Two clips are `gap_frames` of the timeline apart.
    """

    name: Literal["vcop"] = "vcop"
    complexity: Complexity = 1
    num_clips: int = 3
    gap_frames: int = 8
    hidden_dim: int = 512
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.num_clips <= 6 or self.gap_frames < 0 or not 0 <= self.dropout < 1:
            raise UserError(
                "num_clips, gap_frames, dropout: write 2 to 6 clips, a gap of 0 or more, a dropout "
                "from 0 to below 1."
            )

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
