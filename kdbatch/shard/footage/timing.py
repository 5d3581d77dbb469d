"""When the frames of a video are shown, and the constant rate at which they are stored."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from kdbatch.shard.footage.wholeness import Stamp
from kdbatch.shard.stored import BrokenVideo

MIN_RATE, MAX_RATE = 1, 240
"""The frame rates that can be stored. A clip of a second or two has to show motion, and above 240
it would need more frames of the file than a training step has time to decode.
"""


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


def sorted_times(stamps: Sequence[Stamp]) -> list[int]:
    """The time stamps of all shown frames; empty where some are missing or equal."""
    times = sorted(stamp.pts for stamp in stamps if stamp.pts is not None and not stamp.is_discard)
    known = all(stamp.pts is not None for stamp in stamps)
    return times if known and len(set(times)) == len(times) else []


def frame_timing(
    times: Sequence[int],
    time_base: Fraction,
    *,
    declared: Fraction | None,
    nominal: Fraction | None,
) -> FrameTiming:
    span = (times[-1] - times[0]) * time_base if len(times) > 1 else Fraction(0)
    measured = _rounded((len(times) - 1) / span) if span else None
    if measured is None:  # only the declared rate is known: keep the frames in order
        if declared is None:
            raise BrokenVideo("its frame rate is not known")
        return FrameTiming(rate=_checked_rate(declared), source_rate=declared, repeats=None)
    for rate in (declared, measured):
        if rate is not None and _is_even(times, time_base, rate):
            return FrameTiming(rate=_checked_rate(rate), source_rate=rate, repeats=None)
    return FrameTiming(
        rate=_checked_rate(measured),
        source_rate=nominal if nominal and _can_be_stored(nominal) else measured,
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
