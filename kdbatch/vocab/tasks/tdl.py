"""TDL: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec, check_contrast, check_keys
from kdbatch.vocab.views import SQUARE_SIDE, Augment


@dataclass(frozen=True, kw_only=True)
class TDL:
    """Temporal-discriminative learning, Wang et al. 2020, arXiv:2008.02129.

    `negative_gap` is the least distance between the starts of negative and anchor: half the video,
    a clip's length or `near_frames`. `max_mix` is the largest share of one frame that is mixed into
    the anchor. `margin`, of distances between unit vectors, is for loss "triplet".
    """

    name: Literal["tdl"] = "tdl"
    complexity: Complexity = 1
    negative_gap: Literal["half-video", "clip", "near"] = "half-video"
    near_frames: int = 4
    max_mix: float = 0.1
    embedding_dim: int = 128
    queue_size: int = 500
    key_momentum: float = 0.999
    loss: Literal["infonce", "triplet"] = "infonce"
    temperature: float = 0.07
    margin: float = 1.0

    def __post_init__(self) -> None:
        if self.near_frames < 1 or not 0 <= self.max_mix < 1:
            raise UserError(
                "near_frames, max_mix: write 1 frame or more and a share from 0 to below 1."
            )
        check_contrast(self.temperature, self.embedding_dim)
        check_keys(self.queue_size, self.key_momentum)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have.

        The number is equal for all complexities, so that they see the same videos.
        """
        return clip_frames + max(clip_frames, self.near_frames)

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return 2, 1


def at_complexity(complexity: Complexity) -> TDL:
    """The ladder is ours: the source has complexity 3."""
    return TDL(complexity=complexity, negative_gap=("half-video", "clip", "near")[complexity - 1])


# The source: lr 0.003 for 16 clips.
SPEC = TaskSpec(
    title="TDL",
    parameters=TDL,
    at_complexity=at_complexity,
    augment=Augment(
        crop="random",
        square_side=SQUARE_SIDE,
        flip_probability=0.0,
        jitter_probability=1.0,
        brightness=0.5,
        contrast=0.5,
        saturation=0.25,
        hue=0.5,
        rotation_degrees=10.0,
    ),
    lr=0.012,
    lr_of={},
    weight_decay=1e-4,
    needs_whole_batch=True,
)
