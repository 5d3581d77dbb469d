"""TDL: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, Share, check_limits
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec
from kdbatch.vocab.views import SQUARE_SIDE, Augment


@dataclass(frozen=True, kw_only=True)
class TDL:
    """Temporal-discriminative learning, Wang et al. 2020, arXiv:2008.02129."""

    name: Literal["tdl"] = "tdl"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    negative_gap: Literal["half-video", "clip", "near"] = "half-video"
    """Least distance between the starts of negative and anchor: half the video, a clip's length, or
    `near_frames`.
    """
    near_frames: Annotated[int, Limits("frames", least=1, most=100_000)] = 4
    """Distance on the timeline that the gap near stands for."""
    max_mix: Annotated[float, Limits("share", least=0, below=1)] = 0.1
    """Largest share of one frame that is mixed into the anchor."""
    embedding_dim: Annotated[int, Limits("channels", least=2, most=65_536)] = 128
    """Channels of the embedding that clips are compared by."""
    queue_size: Annotated[int, Limits("keys", least=1, most=10_000_000)] = 500
    """Keys in the queue of negatives."""
    key_momentum: Share = 0.999
    """Momentum of the key encoder's moving average."""
    loss: Literal["infonce", "triplet"] = "infonce"
    """Loss that compares anchor, positive and negatives."""
    temperature: Annotated[float, Limits("temperature", least=0.001, most=1000)] = 0.07
    """Divisor of the similarities."""
    margin: Annotated[float, Limits("distance", least=0, most=1000)] = 1.0
    """Margin of the loss triplet, of distances between unit vectors."""

    def __post_init__(self) -> None:
        check_limits(self)

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
