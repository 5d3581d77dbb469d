"""Inspects an original video: whether it is complete, and when each of its frames is shown.

Cameras and screen recorders write frames at uneven times. Such a video is resampled to a constant
rate, its own average: each output frame is the input frame nearest in time, so some input frames
repeat and some are dropped. Times that jitter by less than half a frame count as even.
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

from kdbatch.base.pyav import tolerant_open
from kdbatch.shard.stored import BrokenVideo

# Errors of the machine, not of the video: they stop the build, whereas a broken video is listed and
# left out.
READ_ERRNOS = frozenset({errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT})
NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
HOST_ERRNOS = READ_ERRNOS | NO_SPACE_ERRNOS | {errno.EFBIG, errno.EMFILE, errno.ENFILE}
_PROBE_BYTES = 1 << 28  # enough memory to decode any video
# Of the promised frames, this share must be in the file: some originals promise one too many.
_MIN_COMPLETE_SHARE = 0.98


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """The constant rate of a video and the mapping of its frames to that rate.

    `rate` is the constant rate, `source_rate` the one that the file declares, both in frames per
    second. `repeats` is the number of output frames for each time stamp; None means that every
    frame is kept once, in decoding order.
    """

    rate: Fraction
    source_rate: Fraction
    repeats: Counter[int] | None


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
def open_video(path: Path) -> Generator[tuple[InputContainer, VideoStream], None, None]:
    """Open a container and its first video stream, for decoding with one thread.

    To be called inside `translate_decode_errors`.
    """
    if path.stat().st_size == 0:
        raise BrokenVideo("empty file (0 bytes)")
    with tolerant_open(av.open, av.__version__)(str(path)) as container:
        if not container.streams.video:
            raise BrokenVideo("holds no video stream")
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        yield container, stream


def inspect_video(path: Path) -> FrameTiming:
    """Read the time stamps of all packets, without decoding.

    Raises:
        BrokenVideo: the file is missing, empty or cut short, has no video stream or no frame rate.
    """
    with open_video(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        if not packets:
            raise BrokenVideo("holds no frame that can be decoded")
        _check_complete(container, stream, packets)
        declared = _plausible(stream.average_rate, stream.base_rate, stream.guessed_rate)
        nominal = _plausible(stream.guessed_rate, stream.base_rate) or declared
        times = _sorted_times(packets)
        time_base = Fraction(stream.time_base or 1)
    return _frame_timing(times, time_base, declared=declared, nominal=nominal)


def to_constant_rate(frames: Iterator[VideoFrame], timing: FrameTiming) -> Iterator[VideoFrame]:
    """Repeat and drop frames so that they have the constant rate of `timing`."""
    for frame in frames:
        if timing.repeats is None or frame.pts is None:
            yield frame
        else:
            for _ in range(timing.repeats[frame.pts]):
                yield frame


def _check_complete(
    container: InputContainer, stream: VideoStream, packets: Sequence[Packet]
) -> None:
    """Compare what is in the file with what its header promises.

    Raises:
        BrokenVideo: less is there.
    """
    promised = len(stream.index_entries)
    promised = promised if promised > 1 else stream.frames
    found = len(packets)
    ends = [packet.pts + (packet.duration or 0) for packet in packets if packet.pts is not None]
    if not promised and len(container.streams) == 1 and container.duration and ends:
        # Matroska has no number of frames in its header, but the duration of the file. The last
        # packet may be a B-frame, which is shown before the others of its group.
        end = float(max(ends) * Fraction(stream.time_base or 1))
        promised, found = round(container.duration / av.time_base * 1000), round(end * 1000)
    if found < _MIN_COMPLETE_SHARE * promised or any(packet.is_corrupt for packet in packets):
        raise BrokenVideo(f"is cut short: about {found / max(found, promised):.0%} of it is there")


def _sorted_times(packets: Sequence[Packet]) -> list[int]:
    """The time stamps of all shown frames; empty where some are missing or equal."""
    times = sorted(
        packet.pts for packet in packets if packet.pts is not None and not packet.is_discard
    )
    known = all(packet.pts is not None for packet in packets)
    return times if known and len(set(times)) == len(times) else []


def _frame_timing(
    times: Sequence[int],
    time_base: Fraction,
    *,
    declared: Fraction | None,
    nominal: Fraction | None,
) -> FrameTiming:
    span = (times[-1] - times[0]) * time_base if len(times) > 1 else Fraction(0)
    measured = _plausible((len(times) - 1) / span) if span else None
    if measured is None:  # only the declared rate is known: keep the frames in order
        if declared is None:
            raise BrokenVideo("its frame rate is not known")
        return FrameTiming(rate=declared, source_rate=declared, repeats=None)
    for rate in (declared, measured):
        if rate is not None and _is_even(times, time_base, rate):
            return FrameTiming(rate=rate, source_rate=rate, repeats=None)
    return FrameTiming(
        rate=measured,
        source_rate=nominal or measured,
        repeats=frames_at_constant_rate(times, time_base, measured),
    )


def _is_even(times: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    ticks = float(1 / (rate * time_base))
    return all(
        abs(time - times[0] - number * ticks) < ticks / 2 for number, time in enumerate(times)
    )


def frames_at_constant_rate(
    times: Sequence[int], time_base: Fraction, rate: Fraction
) -> Counter[int]:
    """The number of output frames nearest to each input time; a tie goes to the earlier input."""
    ticks = float(1 / (rate * time_base))
    repeats: Counter[int] = Counter()
    for number in range(round((times[-1] - times[0]) / ticks) + 1):
        time = times[0] + number * ticks
        after = min(bisect_left(times, time), len(times) - 1)
        before = max(after - 1, 0)
        is_nearer_before = time - times[before] <= times[after] - time
        repeats[times[before] if is_nearer_before else times[after]] += 1
    return repeats


def _plausible(*candidates: Fraction | None) -> Fraction | None:
    """The first plausible frame rate. Containers without one give 0, or the ticks of a clock."""
    for rate in candidates:
        if rate is not None and 1 <= rate <= 240:
            return Fraction(rate).limit_denominator(1001)
    return None
