"""What self-supervision predicts. One dataclass per pretext task: its parameters; its ladder of complexities; its training defaults."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from kdbatch.vocab.views import Augment

Complexity = Literal[1, 2, 3]


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

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have."""
        return clip_frames * max(self.speeds)


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

    def window_frames(self, clip_frames: int) -> int:
        """Consecutive frames that a video must have: for all complexities alike, so that they see the same videos."""
        return clip_frames + max(clip_frames, self.near_frames)


PretextTask = RSPNet | CVRL | TDL


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A pretext task's ladder and the training that its source used. `lr` is per 64 clips; `lr_of` overrides it by backbone."""

    title: str
    at: Callable[[Complexity], PretextTask]
    augment: Augment
    lr: float
    weight_decay: float
    lr_of: dict[str, float]


def _rspnet_at(complexity: Complexity) -> RSPNet:
    """The ladder is ours: the source has the two speeds of complexity 1 only."""
    return RSPNet(complexity=complexity, speeds={1: (1, 2), 2: (1, 2, 4), 3: (1, 2, 4, 8)}[complexity])


def _cvrl_at(complexity: Complexity) -> CVRL:
    """The ladder is ours: clips at 1 are the same frames, at 2 as far apart as in the source, at 3 further."""
    return CVRL(complexity=complexity, gap=("none", "decreasing", "uniform")[complexity - 1])


def _tdl_at(complexity: Complexity) -> TDL:
    """The ladder is ours: the source has complexity 3."""
    return TDL(complexity=complexity, negative_gap=("half-video", "clip", "near")[complexity - 1])


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
    ),
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
    ),
    # Its .003 is for 16 clips.
    "tdl": TaskSpec(
        title="TDL",
        at=_tdl_at,
        augment=Augment(
            crop="random",
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
    ),
}
