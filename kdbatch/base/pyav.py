"""Helpers for PyAV, which itself is imported elsewhere; storing and reading videos share them.

They concern differences between its supported majors, the choice of a video stream, and the
orientation of pictures.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

Opener = TypeVar("Opener", bound=Callable[..., object])
StreamT = TypeVar("StreamT", bound=Any)
SideT = TypeVar("SideT")

# AV_DISPOSITION_ATTACHED_PIC and AV_DISPOSITION_TIMED_THUMBNAILS of libavformat/avformat.h: a cover
# and the preview pictures of chapters, which are streams of the type video.
_COVER_DISPOSITIONS = 0x400 | 0x800
_PICTURE_CODECS = frozenset({"bmp", "gif", "mjpeg", "png", "tiff", "webp"})


def tolerant_open(av_open: Opener, av_version: str) -> Opener:
    """Return `av.open` as a function that also opens files whose metadata is not UTF-8.

    PyAV before 19 raises UnicodeDecodeError for such a file, unless an argument makes it ignore
    these bytes; PyAV 19 keeps them and has no such argument.
    """
    if int(av_version.partition(".")[0]) >= 19:
        return av_open
    return partial(av_open, metadata_errors="ignore")  # pyright: ignore[reportReturnType]


def main_video(streams: Sequence[StreamT], *, best: Any) -> StreamT | None:
    """The stream of `streams.video` that holds the video; None where there are only covers.

    The order of streams says nothing: a cover may be the first. `best` is libavformat's choice,
    `streams.best("video")`. It goes by flags first, which some files set for a preview of one
    picture, so streams of one frame and of pictures' codecs come after the others.
    """

    def rank(stream: StreamT) -> tuple[bool, bool, bool, bool, int]:
        codec = stream.codec_context
        return (
            codec is None,  # there is no decoder for it
            stream.frames == 1,
            codec is not None and codec.name in _PICTURE_CODECS,
            best is None or stream.index != best.index,
            stream.index,
        )

    # PyAV 17 has flags that are no numbers.
    videos = [stream for stream in streams if not stream.disposition.value & _COVER_DISPOSITIONS]
    return min(videos, key=rank, default=None)


@dataclass(frozen=True)
class Orientation:
    """The steps that make a coded picture upright, in this order; there are eight combinations.

    `swaps_sides` mirrors it along the diagonal, `mirrors_x` left to right, and `mirrors_y` top to
    bottom.
    """

    swaps_sides: bool = False
    mirrors_x: bool = False
    mirrors_y: bool = False

    def apply(self, pixel_HW: Any) -> Any:
        """The upright picture as a view; axes are rows, columns and possibly channels."""
        if self.swaps_sides:
            pixel_HW = pixel_HW.swapaxes(0, 1)
        if self.mirrors_x:
            pixel_HW = pixel_HW[:, ::-1]
        return pixel_HW[::-1] if self.mirrors_y else pixel_HW

    def size(self, width: SideT, height: SideT) -> tuple[SideT, SideT]:
        """Width and height of the upright picture, or back: both are the same exchange."""
        return (height, width) if self.swaps_sides else (width, height)


UPRIGHT = Orientation()


def orientation_of(frame: Any) -> Orientation:
    """The orientation that a video frame's display matrix asks for; other angles are rounded.

    The matrix maps a point (x, y) to (a x + c y, b x + d y), where y points down (ISO/IEC 14496-12
    6.2.2). Its angle alone, `VideoFrame.rotation`, does not tell a mirror image from a half turn.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix)[:36])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrors_x=a < 0, mirrors_y=d < 0)
    return Orientation(swaps_sides=True, mirrors_x=c < 0, mirrors_y=b < 0)
