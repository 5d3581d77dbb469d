"""CVRL: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec, check_contrast
from kdbatch.vocab.views import Augment


@dataclass(frozen=True, kw_only=True)
class CVRL:
    """Spatiotemporal contrastive video representation learning, Qian et al. 2021, arXiv:2008.03800.

    `gap` names the density of the distance between the two clips' starts; the projection head has
    `num_hidden` layers of `hidden_dim` channels.
    """

    name: Literal["cvrl"] = "cvrl"
    complexity: Complexity = 1
    gap: Literal["none", "decreasing", "uniform"] = "none"
    num_hidden: int = 3
    hidden_dim: int = 2048
    embedding_dim: int = 128
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.num_hidden < 0 or self.hidden_dim < 1:
            raise UserError("num_hidden, hidden_dim: write 0 or more layers of 1 or more channels.")
        check_contrast(self.temperature, self.embedding_dim)

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
)
