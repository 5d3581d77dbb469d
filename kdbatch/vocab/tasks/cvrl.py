"""CVRL: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec
from kdbatch.vocab.views import Augment


@dataclass(frozen=True, kw_only=True)
class CVRL:
    """Spatiotemporal contrastive representation learning, Qian et al. 2021, arXiv:2008.03800."""

    name: Literal["cvrl"] = "cvrl"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    gap: Literal["none", "decreasing", "uniform"] = "none"
    """Density of the distance between the starts of the two clips."""
    num_hidden: Annotated[int, Limits("layers", least=0, most=100)] = 3
    """Hidden layers of the projection head."""
    hidden_dim: Annotated[int, Limits("channels", least=1, most=65_536)] = 2048
    """Channels of each hidden layer."""
    embedding_dim: Annotated[int, Limits("channels", least=2, most=65_536)] = 128
    """Channels of the embedding that clips are compared by."""
    temperature: Annotated[float, Limits("temperature", least=0.001, most=1000)] = 0.1
    """Divisor of the similarities."""

    def __post_init__(self) -> None:
        check_limits(self)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return 2, 0


def at_complexity(complexity: Complexity) -> CVRL:
    """The ladder is ours.

    Both clips have the same frames at 1, are as far apart as in the source at 2, further at 3.
    """
    return CVRL(complexity=complexity, gap=("none", "decreasing", "uniform")[complexity - 1])


# The source: lr 0.32 for 1024 clips; its first view is always blurred, its second one time in ten.
SPEC = TaskSpec(
    title="CVRL",
    parameters=CVRL,
    at_complexity=at_complexity,
    augment=Augment(
        min_area=0.3,
        max_aspect=2.0,
        gray_probability=0.2,
        jitter_probability=0.8,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        blur_probability=0.5,
    ),
    lr=0.02,
    lr_of={},
    weight_decay=1e-6,
    needs_whole_batch=True,
    compares_batch=True,
)
