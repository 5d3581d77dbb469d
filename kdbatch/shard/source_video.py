"""A video as its owner stored it: is it whole, and when does each of its frames show?

Cameras and screen recorders write frames at uneven times. Such a video is put on an even beat, its
own average rate: each beat shows the frame nearest to it, so some frames show twice and some never.
Times that only jitter by less than half a frame count as even.
"""

import errno
import mmap
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kdbatch.shard.stored import BrokenVideo

# The machine's troubles, not the video's: they stop the build, where a broken video is listed and
# left out.
READ_ERRNOS = frozenset({errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})
NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
HOST_ERRNOS = READ_ERRNOS | NO_SPACE_ERRNOS | {errno.EFBIG, errno.EMFILE, errno.ENFILE}
_PROBE_BYTES = 1 << 28  # of memory, for any video
_MIN_COMPLETE_SHARE = (
    0.98  # share of the promised frames that must be there; some originals count one that is not
)


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """`rate` is the even beat, `source_rate` the one that the file declares. `shown` tells how
    often the frame of each time stamp shows; without it every frame shows once, in the order in
    which it is decoded.
    """

    rate: Fraction
    source_rate: Fraction
    repeats: Counter[int] | None


@contextmanager
def translate_decode_errors() -> Generator[None, None, None]:
    """Failures inside libav as one line for a person.

    Raises:
        BrokenVideo: it is the video's fault. OSError: it is the machine's: no space, no more open
        files, a file server that does not answer.
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
            raise OSError(
                error.errno, error.strerror
            ) from None  # libav's own exceptions do not travel between processes
        verb = "read" if isinstance(error, OSError) else "decoded"
        raise BrokenVideo(f"cannot be {verb}: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise BrokenVideo(f"cannot be decoded: {error or type(error).__name__}") from error


def _memory_is_short() -> bool:
    """A damaged head may name a size that libav refuses, with the same error where there is plenty."""
    try:
        mmap.mmap(-1, _PROBE_BYTES).close()
    except OSError:
        return True
    return False


@contextmanager
def open_video(path: Path) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """The container and its first video stream, to be decoded by one thread. Call it inside
    `reasons`.
    """
    if path.stat().st_size == 0:
        raise BrokenVideo("empty file (0 bytes)")
    with av.open(str(path), metadata_errors="ignore") as container:
        if not container.streams.video:
            raise BrokenVideo("holds no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        yield container, stream


def inspect_video(path: Path) -> FrameTiming:
    """Read every packet without decoding any.

    Raises:
        BrokenVideo: missing, empty, no video, cut short, or of no known frame rate.
    """
    with open_video(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        if not packets:
            raise BrokenVideo("holds no frame that can be decoded")
        _check_complete(container, stream, packets)
        declared = _plausible(stream.average_rate, stream.base_rate, stream.guessed_rate)
        nominal = _plausible(stream.guessed_rate, stream.base_rate) or declared
        times = _sorted_times(packets)
        clock = Fraction(stream.time_base or 1)
    return _frame_timing(times, clock, declared=declared, nominal=nominal)


def to_constant_rate(frames: Iterator[VideoFrame], source: FrameTiming) -> Iterator[VideoFrame]:
    """The frames on the footage's even beat."""
    for frame in frames:
        if source.repeats is None or frame.pts is None:
            yield frame
        else:
            for _ in range(source.repeats[frame.pts]):
                yield frame


def _check_complete(
    container: InputContainer, stream: VideoStream, packets: Sequence[Packet]
) -> None:
    """Containers say in their heads, in one way or another, how much will follow."""
    promised = len(stream.index_entries)
    promised = promised if promised > 1 else stream.frames
    found = len(packets)
    if (
        not promised
        and len(container.streams) == 1
        and container.duration
        and packets[-1].pts is not None
    ):
        # Matroska counts no frames, but tells how long the file is.
        end = float(
            (packets[-1].pts + (packets[-1].duration or 0)) * Fraction(stream.time_base or 1)
        )
        promised, found = round(container.duration / av.time_base * 1000), round(end * 1000)
    if found < _MIN_COMPLETE_SHARE * promised or any(packet.is_corrupt for packet in packets):
        raise BrokenVideo(f"is cut short: about {found / max(found, promised):.0%} of it is there")


def _sorted_times(packets: Sequence[Packet]) -> list[int]:
    """The time stamps of all frames that show, sorted; none where they are missing or not all
    different.
    """
    times = sorted(
        packet.pts for packet in packets if packet.pts is not None and not packet.is_discard
    )
    known = all(packet.pts is not None for packet in packets)
    return times if known and len(set(times)) == len(times) else []


def _frame_timing(
    times: Sequence[int], clock: Fraction, *, declared: Fraction | None, nominal: Fraction | None
) -> FrameTiming:
    span = (times[-1] - times[0]) * clock if len(times) > 1 else Fraction(0)
    measured = _plausible((len(times) - 1) / span) if span else None
    if measured is None:  # nothing but the declared rate to go by: frames in order
        if declared is None:
            raise BrokenVideo("its frame rate is not known")
        return FrameTiming(rate=declared, source_rate=declared, repeats=None)
    for rate in (declared, measured):
        if rate is not None and _is_even(times, clock, rate):
            return FrameTiming(rate=rate, source_rate=rate, repeats=None)
    return FrameTiming(
        rate=measured,
        source_rate=nominal or measured,
        repeats=frames_at_constant_rate(times, clock, measured),
    )


def _is_even(times: Sequence[int], clock: Fraction, rate: Fraction) -> bool:
    ticks = float(1 / (rate * clock))
    return all(abs(time - times[0] - place * ticks) < ticks / 2 for place, time in enumerate(times))


def frames_at_constant_rate(times: Sequence[int], clock: Fraction, rate: Fraction) -> Counter[int]:
    """How many beats are nearest to each time; halfway, the earlier frame goes on showing."""
    ticks = float(1 / (rate * clock))
    shown: Counter[int] = Counter()
    for place in range(round((times[-1] - times[0]) / ticks) + 1):
        moment = times[0] + place * ticks
        after = min(bisect_left(times, moment), len(times) - 1)
        before = max(after - 1, 0)
        shown[
            times[before] if moment - times[before] <= times[after] - moment else times[after]
        ] += 1
    return shown


def _plausible(*candidates: Fraction | None) -> Fraction | None:
    """The first plausible frame rate: containers without one say 0, or the ticks of their clock."""
    return next(
        (
            Fraction(rate).limit_denominator(1001)
            for rate in candidates
            if rate is not None and 1 <= rate <= 240
        ),
        None,
    )
