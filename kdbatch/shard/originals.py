"""`--no-transcode`: stores original files, if each of their frames can be addressed.

decord 0.6.0, which reads them on x86-64, finds a frame by its time stamp, and AVI has none: with
B-frames, and with H.264 in any form, it returns other frames than those requested, without an
error. Xvid's packed B-frames in the AVIs of HMDB51 even make a clip jump back.
"""

from pathlib import Path

from av.video.frame import PictureType

from kdbatch.base.pyav import orientation_of
from kdbatch.shard.source_video import (
    inspect_video,
    open_video,
    pixel_shape,
    translate_decode_errors,
)
from kdbatch.shard.stored import BrokenVideo, EncodedVideo, check_is_video
from kdbatch.vocab.packet_index import MAX_FRAMES

_MAX_UNEVEN = 0.1  # share of frames that pauses or bursts would add or leave out
_MAX_STRETCH = 0.02  # of a pixel's width: rounding makes pixels of 4319:4320
_NOT_ADDRESSABLE = "whose frames cannot be addressed; it must be transcoded"


def store_original(path: Path) -> EncodedVideo:
    """Read a file's bytes, and count its frames by decoding all of them once, in order.

    Raises:
        BrokenVideo: as `transcode` does, or its frames cannot be addressed one by one.
    """
    with translate_decode_errors():
        timing = inspect_video(path)
        if abs(timing.growth - 1) > _MAX_UNEVEN:
            raise BrokenVideo("shows its frames at uneven times; it must be transcoded")
        with open_video(path) as (container, stream):
            if abs(pixel_shape(stream) - 1) > _MAX_STRETCH:
                raise BrokenVideo("its pixels are not square; it must be transcoded")
            num_packets = sum(1 for packet in container.demux(stream) if packet.size)
        num_frames, width, height = _decode_all(path)
        video = path.read_bytes()
    _check_count(num_frames, num_packets)
    return EncodedVideo(
        video=video,
        container=path.suffix.lower().removeprefix("."),
        index=b"",
        extradata=b"",
        num_frames=num_frames,
        fps=float(timing.rate),
        source_fps=float(timing.source_rate),
        width=width,
        height=height,
    )


def _decode_all(path: Path) -> tuple[int, int, int]:
    """The number of frames, and the width and height of the last one when it is upright."""
    num_frames = width = height = 0
    with open_video(path) as (container, stream):
        has_no_times = container.format.name == "avi"
        if has_no_times and stream.codec_context.name == "h264":
            raise BrokenVideo(f"is H.264 in AVI, {_NOT_ADDRESSABLE}")
        for frame in container.decode(stream):
            if has_no_times and frame.pict_type == PictureType.B:
                raise BrokenVideo(f"is an AVI with B-frames, {_NOT_ADDRESSABLE}")
            num_frames += 1
            width, height = orientation_of(frame).size(frame.width, frame.height)
    return num_frames, width, height


def _check_count(num_frames: int, num_packets: int) -> None:
    check_is_video(num_frames)
    if num_frames != num_packets:
        raise BrokenVideo(
            f"gives {num_frames} frames from {num_packets} packets, so they cannot be addressed; "
            "it must be transcoded"
        )
    if num_frames > MAX_FRAMES:
        raise BrokenVideo(f"has more than {MAX_FRAMES} frames")
