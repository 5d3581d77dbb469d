"""What self-supervision predicts. One dataclass per pretext task: its parameters; its ladder of complexities; its training defaults."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kdbatch.vocab.errors import UserError
from kdbatch.vocab.views import Augment

Complexity = Literal[1, 2, 3]


def _check_contrast(temperature: float, embedding_dim: int) -> None:
    if not 0 < temperature < float("inf") or embedding_dim < 1:
        raise UserError("temperature, embedding_dim: write a number above 0 and 1 dimension or more.")


def _check_keys(queue_size: int, key_momentum: float) -> None:
    if queue_size < 1 or not 0 <= key_momentum <= 1:
        raise UserError("queue_size, key_momentum: write 1 key or more and a share from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class RSPNet:
    """Relative speed perception and appearance discrimination, Chen et al. 2021, arXiv:2011.07949.

    `queue_size` keys, `key_momentum` of the key encoder's moving average, `temperature` of both similarities, `margin` of the
    ranking in units of similarity over temperature.
    """

    name: Literal["rspnet"] = "rspnet"
    complexity: Complexity = 1
    speeds: tuple[int, ...] = (1, 2)
    embedding_dim: int = 128
    queue_size: int = 16384
    key_momentum: float = 0.999
    temperature: float = 0.07
    margin: float = 2.0

    def __post_init__(self) -> None:
        if len(self.speeds) < 2 or len(set(self.speeds)) != len(self.speeds) or min(self.speeds) < 1:
            raise UserError(f"speeds: found {list(self.speeds)}. Write two or more different ones, 1 or more each.")
        _check_contrast(self.temperature, self.embedding_dim)
        _check_keys(self.queue_size, self.key_momentum)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames * max(self.speeds)


@dataclass(frozen=True, kw_only=True)
class RotNet:
    """Which of several right angles a clip was turned by, Jing et al. 2018, arXiv:1811.11387; `quarters` of a turn, counter-clockwise."""

    name: Literal["rotnet"] = "rotnet"
    complexity: Complexity = 1
    quarters: tuple[int, ...] = (0, 1)
    hidden_dim: int = 64

    def __post_init__(self) -> None:
        if len(self.quarters) < 2 or len(set(self.quarters)) != len(self.quarters) or not set(self.quarters) <= {0, 1, 2, 3}:
            raise UserError(f"quarters: found {list(self.quarters)}. Write two or more different ones of 0, 1, 2, 3.")

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames


@dataclass(frozen=True, kw_only=True)
class VCOP:
    """The order of shuffled clips of one video, Xu et al., CVPR 2019; `gap_frames` of the timeline are left out between two clips."""

    name: Literal["vcop"] = "vcop"
    complexity: Complexity = 1
    num_clips: int = 3
    gap_frames: int = 8
    hidden_dim: int = 512
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if not 2 <= self.num_clips <= 6 or self.gap_frames < 0 or not 0 <= self.dropout < 1:
            raise UserError("num_clips, gap_frames, dropout: write 2 to 6 clips, a gap of 0 or more, a dropout from 0 to below 1.")

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return self.num_clips * clip_frames + (self.num_clips - 1) * self.gap_frames


@dataclass(frozen=True, kw_only=True)
class PRP:
    """How fast a clip plays, and its frames at twice the rate: playback rate perception, Yao et al., CVPR 2020, arXiv:2006.11476.

    `rate_weight` is that of the rate's cross-entropy beside the reconstruction, `decoder_dim` the channels of both branches' first
    convolution. Without `motion_weighted` every pixel counts alike.
    """

    name: Literal["prp"] = "prp"
    complexity: Complexity = 1
    rates: tuple[int, ...] = (1, 2)
    rate_weight: float = 0.1
    decoder_dim: int = 512
    motion_weighted: bool = True

    def __post_init__(self) -> None:
        if len(self.rates) < 2 or len(set(self.rates)) != len(self.rates) or min(self.rates) < 1:
            raise UserError(f"rates: found {list(self.rates)}. Write two or more different ones, 1 or more each.")

        if self.decoder_dim < 8 or self.decoder_dim % 8:
            raise UserError(f"decoder_dim: found {self.decoder_dim}. It is halved three times: write a multiple of 8.")

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames * max(self.rates)


@dataclass(frozen=True, kw_only=True)
class CVRL:
    """Spatiotemporal contrastive video representation learning, Qian et al. 2021, arXiv:2008.03800.

    `gap` is the density of the distance between the two clips' starts; the projection head has `num_hidden` layers of `hidden_dim`.
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
        _check_contrast(self.temperature, self.embedding_dim)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames


@dataclass(frozen=True, kw_only=True)
class TDL:
    """Temporal-discriminative learning, Wang et al. 2020, arXiv:2008.02129.

    `negative_gap`: how far the negative starts from the anchor at least, half the video, a clip's length or `near_frames`. `max_mix`:
    the largest share of one frame that is mixed into the anchor. `margin`, of distances between unit vectors, is for loss "triplet".
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
            raise UserError("near_frames, max_mix: write 1 frame or more and a share from 0 to below 1.")
        _check_contrast(self.temperature, self.embedding_dim)
        _check_keys(self.queue_size, self.key_momentum)

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have: for all complexities alike, so that they see the same videos."""
        return clip_frames + max(clip_frames, self.near_frames)


PretextTask = RSPNet | RotNet | VCOP | PRP | CVRL | TDL


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A pretext task's ladder and the training that its source used. `lr` is per 64 videos of a batch; `lr_of` overrides it by backbone.

    A task that `needs_whole_batch` learns from comparisons within it, or moves a key encoder and a queue once per batch.
    """

    title: str
    at: Callable[[Complexity], PretextTask]
    augment: Augment
    lr: float
    weight_decay: float
    lr_of: dict[str, float]
    needs_whole_batch: bool = False


def _rspnet_at(complexity: Complexity) -> RSPNet:
    """The ladder is ours: the source has the two speeds of complexity 1 only."""
    return RSPNet(complexity=complexity, speeds={1: (1, 2), 2: (1, 2, 4), 3: (1, 2, 4, 8)}[complexity])


def _rotnet_at(complexity: Complexity) -> RotNet:
    """2, 3 or 4 rotations, as the study has them. Which angles it does not say: ours are the first ones of the source's list."""
    return RotNet(complexity=complexity, quarters=(0, 1, 2, 3)[: complexity + 1])


def _vcop_at(complexity: Complexity) -> VCOP:
    """3, 4 or 5 clips, as the study has them: 6, 24 or 120 orders."""
    return VCOP(complexity=complexity, num_clips=complexity + 2)


def _prp_at(complexity: Complexity) -> PRP:
    """Rates {1, 2}, {1, 2, 4} or {1, 2, 4, 8}, as the study has them; the source has the last."""
    return PRP(complexity=complexity, rates=(1, 2, 4, 8)[: complexity + 1])


def _cvrl_at(complexity: Complexity) -> CVRL:
    """The ladder is ours: clips at 1 are the same frames, at 2 as far apart as in the source, at 3 further."""
    return CVRL(complexity=complexity, gap=("none", "decreasing", "uniform")[complexity - 1])


def _tdl_at(complexity: Complexity) -> TDL:
    """The ladder is ours: the source has complexity 3."""
    return TDL(complexity=complexity, negative_gap=("half-video", "clip", "near")[complexity - 1])


_TURNED = Augment(
    crop="random",
    square_side=0.875,
    rotation_degrees=10.0,
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
)
"""What the study does to clips for RotNet, VCOP and PRP: a small rotation, a crop of 112 from 128 pixels, colours, flips. RotNet's source
turns by up to 10 degrees; the strengths of the colours are ours, since the study states none."""

TASKS: dict[str, TaskSpec] = {
    "rspnet": TaskSpec(
        title="RSPNet",
        at=_rspnet_at,
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
    ),
    # 0.1 for 32 videos in 4 rotations, 128 clips: as many as 64 videos make in the 2 rotations of complexity 1. The other two have more
    # copies of the same videos per step, not more videos, so the rate stays.
    "rotnet": TaskSpec(title="RotNet", at=_rotnet_at, augment=_TURNED, lr=0.1, lr_of={}, weight_decay=1e-3),
    # 0.001 for 8 videos, each with its tuple of clips; in proportion.
    "vcop": TaskSpec(title="VCOP", at=_vcop_at, augment=_TURNED, lr=0.008, lr_of={}, weight_decay=5e-4),
    # 0.01 for 8 clips, in proportion; the source's tenfold rate of the rate's last layer is not kept: the head has one rate.
    "prp": TaskSpec(title="PRP", at=_prp_at, augment=_TURNED, lr=0.08, lr_of={}, weight_decay=5e-4),
    # Its .32 is for 1024 clips. Its first view is always blurred, its second one time in ten.
    "cvrl": TaskSpec(
        title="CVRL",
        at=_cvrl_at,
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
    ),
    # Its .003 is for 16 clips.
    "tdl": TaskSpec(
        title="TDL",
        at=_tdl_at,
        augment=Augment(
            crop="random",
            square_side=0.875,
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
    ),
}
