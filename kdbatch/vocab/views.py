"""How a clip is cut from a video and augmented."""

from dataclasses import dataclass, replace
from typing import Literal

# 112 pixels of 128: frames are brought to 128 x 171, and squares of 112 cut from them (C3D, VCOP,
# PRP)
SQUARE_SIDE = 0.875


@dataclass(frozen=True, kw_only=True)
class Augment:
    """One draw per clip, used for all its frames. Areas are shares of the frame; a crop is at most
    `max_aspect` times as wide as high, or as high as wide; jitter strengths as in torchvision's
    ColorJitter.

    The squares of the crops `random` and `center` have `square_side` of the frame's shorter side,
    SQUARE_SIDE for a crop of 112 pixels from a frame whose shorter side is 128.

    Crops: a random area and aspect ratio; the largest square at a random place, or in the centre;
    three squares of 7/8 of the short side along the long side, of which a video's first draw is the
    first, its second the middle one. Rotation is by a uniform angle of at most `rotation_degrees`
    to either side; sigmas of the Gaussian blur are in pixels of the view.
    """

    crop: Literal["random-resized", "random", "center", "three"] = "random-resized"
    min_area: float = 0.25
    max_area: float = 1.0
    max_aspect: float = 4 / 3
    square_side: float = 1.0
    flip_probability: float = 0.5
    gray_probability: float = 0.0
    jitter_probability: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    rotation_degrees: float = 0.0
    blur_probability: float = 0.0
    min_blur_sigma: float = 0.1
    max_blur_sigma: float = 2.0

    def with_colours(self, share: float) -> "Augment":
        """The same cuts with colours and blur at a share of their strength or frequency."""
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
    """A clip: `num_frames` frames, `stride_frames` apart on a timeline of `fps` frames per second,
    `size_pixels` square.
    """

    num_frames: int = 16
    stride_frames: int = 1
    fps: float = 25.0
    size_pixels: int = 112
    augment: Augment = Augment()

    @property
    def window_frames(self) -> int:
        return (self.num_frames - 1) * self.stride_frames + 1
