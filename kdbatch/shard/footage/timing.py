"""When the frames of a video are shown, and the constant rate at which they are stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from kdbatch.shard.footage.wholeness import Stamp
from kdbatch.shard.stored import BrokenVideo

MIN_RATE, MAX_RATE = 1, 240
"""The frame rates that can be stored. A clip of a second or two has to show motion, and above 240
it would need more frames of the file than a training step has time to decode.
"""
MAX_GROWTH = 10
"""The most stored frames per frame of the file. With more, nearly all of it would be one pause."""
_LONGEST_TYPICAL = 1.5  # times the median: a longer gap has lost a frame, or is a pause
_SAME_RATE = 0.01
_MAX_REORDERED = 16  # frames between decoding and display, ITU-T H.264 and H.265 annex A


@dataclass(frozen=True)
class TimeGrid:
    """Times at a constant rate: place n is at `start` + n * `step`, in the ticks of a track."""

    start: int
    step: Fraction

    def place(self, time: int) -> int:
        """The place nearest to a time; a half rounds up."""
        return math.floor((time - self.start) / self.step + Fraction(1, 2))


@dataclass(frozen=True, kw_only=True)
class FrameTiming:
    """The constant rate of a video and the mapping of its frames to that rate.

    `rate` is the constant rate, `source_rate` the one that the file declares, both in frames per
    second. Without a `grid` every frame is kept once, in decoding order. `growth` is the number of
    frames at the constant rate for each frame of the file.
    """

    rate: Fraction
    source_rate: Fraction
    grid: TimeGrid | None = None
    growth: float = 1.0


def sorted_times(stamps: Sequence[Stamp]) -> list[int]:
    """The time stamps of all shown frames; empty where some are missing, or where the clock was
    reset in the middle, as in streams that were appended to one another.
    """
    times = [stamp.pts for stamp in stamps if stamp.pts is not None and not stamp.is_discard]
    if any(stamp.pts is None for stamp in stamps):
        return []
    latest = accumulate(times, max)  # B-frames go back too, but not behind so many packets
    is_reset = any(time < before for time, before in zip(times[_MAX_REORDERED + 1 :], latest))
    return [] if is_reset else sorted(times)


def frame_timing(
    times: Sequence[int],
    time_base: Fraction,
    *,
    declared: Fraction | None,
    nominal: Fraction | None,
) -> FrameTiming:
    """The rate of frames that are shown at `times`, sorted, in ticks of `time_base` seconds.

    Times that jitter by less than half a frame are even. Uneven ones are put on a grid of the rate
    that most of the frames have: a pause keeps its length and the motion around it its frames.

    Raises:
        BrokenVideo: the rate is not known or cannot be stored, or the grid would hold more than
            `MAX_GROWTH` times the frames.
    """
    span = (times[-1] - times[0]) * time_base if len(times) > 1 else Fraction(0)
    measured = _rounded((len(times) - 1) / span) if span else None
    if measured is None:  # only the declared rate is known: keep the frames in order
        if declared is None:
            raise BrokenVideo("its frame rate is not known")
        return FrameTiming(rate=_checked_rate(declared), source_rate=declared)
    for rate in (declared, measured):
        if rate is not None and _is_even(times, time_base, rate):
            return FrameTiming(rate=_checked_rate(rate), source_rate=rate)
    typical = _typical_rate(times, time_base)
    stated = (rate for rate in (declared, nominal) if rate)
    rate = next((rate for rate in stated if abs(rate / typical - 1) <= _SAME_RATE), typical)
    grid = TimeGrid(times[0], 1 / (_checked_rate(rate) * time_base))
    return FrameTiming(
        rate=rate,
        source_rate=nominal if nominal and _can_be_stored(nominal) else rate,
        grid=grid,
        growth=_checked_growth(times, grid, rate),
    )


def _typical_rate(times: Sequence[int], time_base: Fraction) -> Fraction:
    """The rate of the frames without pauses and lost frames: from the mean of the usual gaps."""
    gaps = sorted(after - before for before, after in pairwise(times) if after > before)
    longest = gaps[(len(gaps) - 1) // 2] * _LONGEST_TYPICAL
    usual = [gap for gap in gaps if gap <= longest]
    return _rounded(len(usual) / (sum(usual) * time_base))


def _checked_growth(times: Sequence[int], grid: TimeGrid, rate: Fraction) -> float:
    num_places = grid.place(times[-1]) + 1
    if num_places > MAX_GROWTH * len(times):
        raise BrokenVideo(
            f"shows its frames at uneven times: with its pauses, its {len(times)} frames would be "
            f"{num_places} at {float(rate):.6g} frames per second; at most {MAX_GROWTH} times as "
            "many can be stored"
        )
    return num_places / len(times)


def _is_even(times: Sequence[int], time_base: Fraction, rate: Fraction) -> bool:
    ticks = float(1 / (rate * time_base))
    return all(
        abs(time - times[0] - number * ticks) < ticks / 2 for number, time in enumerate(times)
    )


def first_rate(*candidates: Fraction | None) -> Fraction | None:
    """The first of these rates that can be stored, or else the first.

    Containers without a rate give 0, or the ticks of a clock.
    """
    rates = [_rounded(rate) for rate in candidates if rate]
    return next(filter(_can_be_stored, rates), rates[0] if rates else None)


def _rounded(rate: Fraction) -> Fraction:
    return Fraction(rate).limit_denominator(1001) or Fraction(rate)


def _can_be_stored(rate: Fraction) -> bool:
    return MIN_RATE <= rate <= MAX_RATE


def _checked_rate(rate: Fraction) -> Fraction:
    if not _can_be_stored(rate):
        raise BrokenVideo(
            f"shows {float(rate):.6g} frames per second; rates of {MIN_RATE} to {MAX_RATE} can be "
            "stored"
        )
    return rate
