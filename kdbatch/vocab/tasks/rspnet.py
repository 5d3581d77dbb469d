"""RSPNet: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, Share, check_limits
from kdbatch.vocab.tasks.spec import Complexity, TaskSpec
from kdbatch.vocab.views import Augment


@dataclass(frozen=True, kw_only=True)
class RSPNet:
    """Relative speed perception, appearance discrimination, Chen et al. 2021, arXiv:2011.07949."""

    name: Literal["rspnet"] = "rspnet"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    speeds: tuple[Annotated[int, Limits("factor", least=1, most=1000)], ...] = (1, 2)
    """Playback speeds to compare; two or more."""
    embedding_dim: Annotated[int, Limits("channels", least=2, most=65_536)] = 128
    """Channels of the embedding that clips are compared by."""
    queue_size: Annotated[int, Limits("keys", least=1, most=10_000_000)] = 16384
    """Keys in the queue of negatives."""
    key_momentum: Share = 0.999
    """Momentum of the key encoder's moving average."""
    temperature: Annotated[float, Limits("temperature", least=0.001, most=1000)] = 0.07
    """Divisor of the similarities."""
    margin: Annotated[float, Limits("similarity", least=0, most=1000)] = 2.0
    """Margin of the ranking of speeds, in units of similarity over temperature."""
    discrimination_weight: Annotated[float, Limits("weight", least=0, most=1_000_000)] = 1.0
    """Weight of appearance, where speed has 1; 1 in the source."""

    def __post_init__(self) -> None:
        check_limits(self)
        if len(self.speeds) < 2 or len(set(self.speeds)) < len(self.speeds):
            raise UserError(f"speeds: found {list(self.speeds)}. Write two or more different ones.")

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


def _finest_step(task: RSPNet, stride_frames: int) -> int:
    """The step of the slowest speed."""
    return min(task.speeds) * stride_frames


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
    finest_step=_finest_step,
)
