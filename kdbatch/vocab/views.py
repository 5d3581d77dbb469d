"""How a clip is cut from a video and augmented."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Count, Limits, SameAs, Share, check_limits

# 112 of 128 pixels: C3D, VCOP and PRP resize frames to 128 x 171 and cut squares of 112 from them
SQUARE_SIDE = 0.875

PositiveShare = Annotated[float, Limits("share", least=0.001, most=1)]
VideoRate = Annotated[float, Limits("frames/s", least=0, most=1_000_000)]
Strength = Annotated[float, Limits("strength", least=0, most=100)]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """The augmentation of a clip: one draw of parameters, applied to all of its frames.

    Crops: `random-resized` has a random area and aspect ratio; `random` and `center` are squares of
    `square_side` times the frame's shorter side, at a random position or in the centre; `three` are
    squares of 7/8 of the shorter side at the start, middle and end of the longer side, which the
    successive draws of a video take in turn. `square_side=SQUARE_SIDE` gives a crop of 112 pixels
    from a frame whose shorter side is 128.

    Areas are shares of the frame; the longer side of a crop is at most `max_aspect` times its
    shorter one. Jitter strengths are those of torchvision's ColorJitter. Rotation is by a uniform
    angle of at most `rotation_degrees` to either side. Sigmas of the Gaussian blur are in pixels of
    the view.
    """

    crop: Literal["random-resized", "random", "center", "three"] = "random-resized"
    min_area: PositiveShare = 0.25
    max_area: PositiveShare = 1.0
    max_aspect: Annotated[float, Limits("ratio", least=1, most=100)] = 4 / 3
    square_side: PositiveShare = 1.0
    flip_probability: Share = 0.5
    gray_probability: Share = 0.0
    jitter_probability: Share = 0.0
    brightness: Strength = 0.0
    contrast: Strength = 0.0
    saturation: Strength = 0.0
    hue: Annotated[float, Limits("share", least=0, most=0.5)] = 0.0
    rotation_degrees: Annotated[float, Limits("degrees", least=0, most=180)] = 0.0
    blur_probability: Share = 0.0
    min_blur_sigma: Annotated[float, Limits("pixels", least=0.001, most=1000)] = 0.1
    max_blur_sigma: Annotated[float, Limits("pixels", least=0.001, most=1000)] = 2.0

    def __post_init__(self) -> None:
        check_limits(self)

    def with_colours(self, share: float) -> "Augment":
        """The same crops, with colours and blur at `share` of their strength or probability."""
        return replace(
            self,
            gray_probability=self.gray_probability * share,
            brightness=self.brightness * share,
            contrast=self.contrast * share,
            saturation=self.saturation * share,
            hue=self.hue * share,
            blur_probability=self.blur_probability * share,
        )


CENTER_CROP = Augment(crop="center", flip_probability=0.0)
INNER_CROP = Augment(crop="center", flip_probability=0.0, square_side=SQUARE_SIDE)
THREE_CROPS = Augment(crop="three", flip_probability=0.0)


@dataclass(frozen=True, kw_only=True)
class View:
    """A clip: `num_frames` square frames of `size_pixels`.

    They are `stride_frames` apart on a timeline of `fps` frames per second.
    """

    num_frames: Annotated[int, Limits("frames", least=1, most=10_000)] = 16
    """Frames of a clip."""
    stride_frames: Annotated[int, Limits("frames", least=1, most=10_000)] = 1
    """Distance of two frames of a clip on the timeline."""
    fps: Annotated[
        float, Limits("frames/s", least=0.01, most=1000, advice="; 24 to 30 is usual")
    ] = 25.0
    """Frames per second of the timeline, whatever the video's own rate is."""
    size_pixels: Annotated[int, Limits("pixels", least=1, most=4096)] = 112
    """Height and width of a clip."""
    augment: Augment = Augment()

    def __post_init__(self) -> None:
        check_limits(self)

    @property
    def window_frames(self) -> int:
        """Frames from the first to the last frame of a clip, both included."""
        return (self.num_frames - 1) * self.stride_frames + 1

    def repeated_share(self, fps: float, seconds: float | None = None) -> float:
        """The share of a clip's frames that repeat an earlier one, on average over its starts.

        A video of fewer frames per second than a clip has repeats frames, and one of fewer
        `seconds` than the clip is looped.
        """
        distinct = 1 + (self.num_frames - 1) * min(1.0, fps * self.stride_frames / self.fps)
        length = self.window_frames if seconds is None else int(seconds * self.fps + 1e-6)
        if length < self.window_frames:
            apart = math.gcd(self.stride_frames, length)
            distinct = min(distinct, length // apart * min(1.0, apart * fps / self.fps))
        return 1 - max(1.0, distinct) / self.num_frames


@dataclass(frozen=True, kw_only=True)
class ClipRates:
    """The rates of a subset's videos, and how often clips of them repeat frames.

    Clips have `num_frames` frames, `stride_frames` apart at `fps` frames per second.
    `repeated_share` is of the frames of all clips; it and the rates of videos are None while these
    are not stored. `num_too_slow` videos are left out, because a task judges speed.
    """

    subset: str
    fps: Annotated[float, SameAs(View, "fps")]
    stride_frames: Annotated[int, SameAs(View, "stride_frames")]
    num_frames: Annotated[int, SameAs(View, "num_frames")]
    least_video_fps: VideoRate | None
    most_video_fps: VideoRate | None
    repeated_share: Share | None
    num_too_slow: Count = 0

    @property
    def texts(self) -> tuple[str, str, str, str, str]:
        """The subset, the rate of its videos, its clips, the repeated share, and the number left
        out: `ssv2/train[:30k]`, `12 fps`, `16 at 25 fps`, `48.8 %`, `0`.
        """
        clips = f"{self.num_frames} at {self.fps / self.stride_frames:.4g} fps"
        least, most, share = self.least_video_fps, self.most_video_fps, self.repeated_share
        if least is None or most is None or share is None:
            return self.subset, "not known yet", clips, "?", "?"
        videos = f"{least:.5g} fps" if least == most else f"{least:.5g} to {most:.5g} fps"
        repeated = f"{100 * share:.1f} %"
        return self.subset, videos, clips, repeated, f"{self.num_too_slow:,}"


CLIP_RATES_HEAD = ("videos", "have", "clips of", "repeated", "too slow")
"""The titles of `ClipRates.texts`."""
CLIP_RATES_NOTE = (
    "Frames of a clip are repeated where its video has fewer frames per second than the clip, or "
    "is shorter. Videos that are too slow are left out by the tasks that judge speed, which could "
    "be solved by counting repeats."
)
