"""Inspects an original video: whether it is complete, and when each of its frames is shown.

Cameras and screen recorders write frames at uneven times. Such a video is resampled to the constant
rate that most of its frames have, as the filter `fps` of FFmpeg does: each frame is shown until the
next one comes, so some input frames repeat and some are dropped. The last frame is shown once.
"""

import errno
import io
import mmap
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kdbatch.base.pyav import main_video, tolerant_open
from kdbatch.base.reading.local_name import local_name
from kdbatch.shard.footage.timing import FrameTiming, first_rate, frame_timing, sorted_times
from kdbatch.shard.footage.wholeness import check_whole, promised_frames, read_time_stamps
from kdbatch.shard.stored import BrokenVideo

# Errors of the machine, not of the video: they stop the build, whereas a broken video is listed and
# left out.
READ_ERRNOS = frozenset({errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})
NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
HOST_ERRNOS = READ_ERRNOS | NO_SPACE_ERRNOS | {errno.EFBIG, errno.EMFILE, errno.ENFILE}
# Formats of libavformat whose files are texts that name the files to play.
_PLAYLIST_FORMATS = frozenset({"concat", "dash", "hls", "imf", "rtsp", "sdp", "webm_dash_manifest"})
MAX_PIXEL_SHAPE = Fraction(4)
"""The widest pixels that can be stored, and 1 / this the narrowest; those of discs are below 3."""
_PROBE_BYTES = 1 << 28  # enough memory to decode any video


@contextmanager
def translate_decode_errors() -> Generator[None, None, None]:
    """Turn the errors of libav into errors with one line of text.

    Raises:
        BrokenVideo: the video is at fault.
        OSError: the machine is: no space, too many open files, a file server that does not answer.
    """
    try:
        yield
    except MemoryError as error:
        if _memory_is_short():
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from None
        raise BrokenVideo(
            "cannot be decoded: it asks for more memory than any video needs"
        ) from error
    except (FFmpegError, OSError) as error:
        if error.errno in HOST_ERRNOS:
            # libav's own exceptions cannot be pickled between processes.
            raise OSError(error.errno, error.strerror) from None
        verb = "read" if isinstance(error, OSError) else "decoded"
        raise BrokenVideo(f"cannot be {verb}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise BrokenVideo(f"cannot be decoded: {error or type(error).__name__}") from error


def _memory_is_short() -> bool:
    """Whether memory is short; a damaged header with a wild size causes the same MemoryError."""
    try:
        mmap.mmap(-1, _PROBE_BYTES).close()
    except OSError:
        return True
    return False


@contextmanager
def open_video(source: Path | bytes) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """Open a container, of a file or of its content, and the stream of its video, for decoding with
    one thread.

    To be called inside `translate_decode_errors`.
    """
    is_file = isinstance(source, Path)
    if (source.stat().st_size if is_file else len(source)) == 0:
        raise BrokenVideo("empty file (0 bytes)")
    file = local_name(source) if is_file else io.BytesIO(source)
    with tolerant_open(av.open, av.__version__)(file, "r") as container:
        if container.format.name in _PLAYLIST_FORMATS:
            raise BrokenVideo(f"is a list of other files ({container.format.name}), not a video")
        videos = container.streams.video
        stream = main_video(videos, best=container.streams.best("video"))
        if stream is None:
            raise BrokenVideo(f"holds no video stream{', only a cover picture' if videos else ''}")
        if stream.codec_context is None:
            raise BrokenVideo("its codec is not one that this PyAV decodes")
        stream.codec_context.thread_count = 1
        yield container, stream


def inspect_video(path: Path) -> FrameTiming:
    """Read the time stamps of all packets, without decoding.

    Raises:
        BrokenVideo: the file is missing, empty or cut short, has no video stream, or its frame rate
            is not known or is not one that can be stored.
    """
    with open_video(path) as (container, stream):
        num_promised = promised_frames(container, stream)
        tracks = read_time_stamps(container)
        stamps = tracks.get(stream.index, [])
        if not stamps:
            raise BrokenVideo("holds no frame that can be decoded")
        check_whole(path, container, stream, tracks, num_promised)
        declared = first_rate(stream.average_rate, stream.base_rate, stream.guessed_rate)
        nominal = first_rate(stream.guessed_rate, stream.base_rate, stream.average_rate)
        time_base = Fraction(stream.time_base or 1)
    return frame_timing(sorted_times(stamps), time_base, declared=declared, nominal=nominal)


def pixel_shape(stream: VideoStream) -> Fraction:
    """Width of a pixel for a height of 1, as FFmpeg takes it: that of the container, else that of
    the codec, else 1.

    Raises:
        BrokenVideo: no camera or disc has such pixels.
    """
    shape = stream.sample_aspect_ratio or Fraction(1)
    if not 1 / MAX_PIXEL_SHAPE <= shape <= MAX_PIXEL_SHAPE:
        raise BrokenVideo(
            f"its pixels are {shape.numerator}:{shape.denominator}, width to height; shapes of "
            f"1:{MAX_PIXEL_SHAPE} to {MAX_PIXEL_SHAPE}:1 can be stored"
        )
    return shape


def to_constant_rate(frames: Iterator[VideoFrame], timing: FrameTiming) -> Iterator[VideoFrame]:
    """Repeat and drop frames so that they have the constant rate of `timing`.

    The last of several frames for one place is shown. One without a time follows the one before.
    """
    if timing.grid is None:
        yield from frames
        return
    held, held_place = None, 0
    for frame in frames:
        place = held_place + 1 if frame.pts is None else timing.grid.place(frame.pts)
        if held is not None:
            for _ in range(held_place, place):
                yield held
            place = max(place, held_place)
        held, held_place = frame, place
    if held is not None:
        yield held
