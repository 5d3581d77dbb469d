"""RSPNet: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec, check_contrast, check_keys
from kdbatch.vocab.views import Augment


@dataclass(frozen=True, kw_only=True)
class RSPNet:
    """Relative speed perception and appearance discrimination, Chen et al. 2021, arXiv:2011.07949.

    `key_momentum` is that of the key encoder's moving average, `temperature` that of both
    similarities, `margin` that of the ranking, in units of similarity over temperature.
    `discrimination_weight` is the weight of appearance, where speed has 1; 1 in the source.
    """

    name: Literal["rspnet"] = "rspnet"
    complexity: Complexity = 1
    speeds: tuple[int, ...] = (1, 2)
    embedding_dim: int = 128
    queue_size: int = 16384
    key_momentum: float = 0.999
    temperature: float = 0.07
    margin: float = 2.0
    discrimination_weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.speeds) < 2 or len(set(self.speeds)) < len(self.speeds) or min(self.speeds) < 1:
            raise UserError(
                f"speeds: found {list(self.speeds)}. Write two or more different ones, 1 or more "
                "each."
            )
        check_contrast(self.temperature, self.embedding_dim)
        check_keys(self.queue_size, self.key_momentum)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames * max(self.speeds)

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return 1, 2


def at_complexity(complexity: Complexity) -> RSPNet:
    """The ladder is ours: the source has the two speeds of complexity 1 only."""
    return RSPNet(complexity=complexity, speeds=(1, 2, 4, 8)[: complexity + 1])


SPEC = TaskSpec(
    title="RSPNet",
    parameters=RSPNet,
    at_complexity=at_complexity,
    augment=Augment(
        min_area=0.4,
        gray_probability=0.2,
        jitter_probability=1.0,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.4,
    ),
    lr=0.1,
    lr_of={"r21d_10": 0.05},
    weight_decay=1e-4,
    needs_whole_batch=True,
)
