"""PRP: its parameters, its ladder, its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.tasks.spec import ROTATED, Complexity, TaskSpec


@dataclass(frozen=True, kw_only=True)
class PRP:
    """Playback rate perception, Yao et al., CVPR 2020, arXiv:2006.11476.

    Predict how fast a clip plays, and its frames at twice the rate.
    """

    name: Literal["prp"] = "prp"
    complexity: Complexity = 1
    """Step of the task's ladder, which the experiment sets."""
    rates: tuple[Annotated[int, Limits("factor", least=1, most=1000)], ...] = (1, 2)
    """Playback rates to tell apart; two or more."""
    rate_weight: Annotated[float, Limits("weight", least=0, most=1_000_000)] = 0.1
    """Weight of the rate's cross-entropy, where the reconstruction has 1."""
    decoder_dim: Annotated[int, Limits("channels", least=8, most=65_536)] = 512
    """Channels of both branches' first convolution, a multiple of 8: it is halved three times."""
    motion_weighted: bool = True
    """Whether moving pixels count more in the reconstruction."""

    def __post_init__(self) -> None:
        check_limits(self)
        if len(self.rates) < 2 or len(set(self.rates)) != len(self.rates):
            raise UserError(f"rates: found {list(self.rates)}. Write two or more different ones.")
        if self.decoder_dim % 8:
            raise UserError(
                f"decoder_dim: found {self.decoder_dim}. It is halved three times: write a "
                "multiple of 8."
            )

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames * max(self.rates)

    @property
    def clips_per_video(self) -> tuple[int, int]:
        """Clips that a step trains on, and clips without gradient."""
        return 1, 0


def at_complexity(complexity: Complexity) -> PRP:
    """Rates {1, 2}, {1, 2, 4} or {1, 2, 4, 8}, as the study has them; the source has the last."""
    return PRP(complexity=complexity, rates=(1, 2, 4, 8)[: complexity + 1])


def _finest_step(task: PRP, stride_frames: int) -> int:
    """The step of the slowest rate, or half of it: the frames between those of a clip, which are
    reconstructed, exist where its step is even.
    """
    steps = [rate * stride_frames for rate in task.rates]
    return min(step if step % 2 else step // 2 for step in steps)


# The source: lr 0.01 for 8 clips; here in proportion. Its tenfold lr of the rate's last layer is
# not kept: the head has one lr.
SPEC = TaskSpec(
    title="PRP",
    parameters=PRP,
    at_complexity=at_complexity,
    augment=ROTATED,
    lr=0.08,
    lr_of={},
    weight_decay=5e-4,
    finest_step=_finest_step,
)
