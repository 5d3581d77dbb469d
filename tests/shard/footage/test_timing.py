"""The rate at which frames at even and uneven times are stored, and the times that are refused."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.videos import write_video

from kdbatch.shard.footage.timing import FrameTiming, frame_timing, sorted_times
from kdbatch.shard.footage.wholeness import Stamp
from kdbatch.shard.originals import store_original
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import transcode

H264 = {"preset": "ultrafast"}
EVEN = tuple(range(0, 1400, 40))


def _timing(times: Sequence[int]) -> FrameTiming:
    """The timing of frames at these milliseconds, in a file that declares 25 frames per second."""
    return frame_timing(times, Fraction(1, 1000), declared=Fraction(25), nominal=Fraction(25))


@pytest.mark.parametrize(("rate", "shown"), [(480, "480"), (Fraction(1, 5), "0.2"), (241, "241")])
def test_a_rate_outside_of_the_limits_is_told_with_them(
    tmp_path: Path, rate: Fraction | int, shown: str
) -> None:
    path = write_video(tmp_path / "a.mp4", codec="libx264", rate=rate, options=H264, num_frames=8)
    for store in (transcode, store_original):
        with pytest.raises(
            BrokenVideo,
            match=re.escape(f"shows {shown} frames per second; rates of 1 to 240 can be stored"),
        ):
            store(path)


@pytest.mark.parametrize("rate", [1, 240, Fraction(240000, 1001)])
def test_rates_at_the_limits_are_stored(tmp_path: Path, rate: Fraction | int) -> None:
    path = write_video(tmp_path / "a.mp4", codec="libx264", rate=rate, options=H264, num_frames=8)
    assert transcode(path).fps == pytest.approx(float(rate))


def test_two_frames_in_ten_seconds_are_not_stored_at_the_rate_that_the_header_declares(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path / "a.mkv", codec="libx264", options=H264, milliseconds=(0, 10_000))
    with pytest.raises(BrokenVideo, match=r"shows 0\.1 frames per second"):
        transcode(path)


@pytest.mark.parametrize("hours", [1, 10**6])
def test_frames_that_are_hours_apart_are_refused_without_a_trace(hours: int) -> None:
    times = [0, hours * 3600 * 1000]
    with pytest.raises(BrokenVideo, match="frames per second; rates of 1 to 240 can be stored"):
        frame_timing(times, Fraction(1, 1000), declared=Fraction(25), nominal=Fraction(25))


def test_a_declared_rate_of_clock_ticks_is_not_a_rate_of_the_source() -> None:
    times = [0, 40, 80, 300, 340]
    timing = frame_timing(
        times, Fraction(1, 1000), declared=Fraction(1000), nominal=Fraction(90_000)
    )
    assert timing.rate == timing.source_rate == 25


def test_a_rate_that_no_one_states_is_not_known() -> None:
    with pytest.raises(BrokenVideo, match="its frame rate is not known"):
        frame_timing([], Fraction(1, 1000), declared=None, nominal=None)


@pytest.mark.parametrize(
    "times",
    [
        [*EVEN, EVEN[-1] + 5000],
        [time + 800 * (time > 600) for time in EVEN],
        [time for time in EVEN if time not in (400, 440, 480, 520)],
        [*EVEN[:20], 760, *(time + 40 for time in EVEN[19:])],
        [*EVEN, *range(1600, 3600, 200)],
    ],
    ids=["the last is late", "a pause", "lost frames", "an equal time", "slower in the dark"],
)
def test_uneven_times_are_stored_at_the_rate_of_most_frames(times: list[int]) -> None:
    timing = _timing(times)
    assert timing.rate == 25
    assert timing.grid is not None
    assert [timing.grid.place(time) for time in times] == [time // 40 for time in times]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([*EVEN, 60_000], "with its pauses, its 36 frames would be 1501 at 25 .* at most 10 times"),
        (
            [i // 3 * 200 + i % 3 * 5 for i in range(60)],
            "its 60 frames .* at 200 frames per second",
        ),
        ([i // 4 * 160 + i % 4 for i in range(40)], "shows 1000 frames per second"),
    ],
    ids=["a minute of pause", "bursts", "bursts of a millisecond"],
)
def test_times_at_which_nearly_all_would_be_pauses_are_refused(
    times: list[int], reason: str
) -> None:
    with pytest.raises(BrokenVideo, match=reason):
        _timing(times)


@given(st.lists(st.integers(20, 400), min_size=2, max_size=40), st.integers(-1000, 1000))
def test_frames_are_within_half_a_place_of_their_times(gaps: list[int], start: int) -> None:
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap)
    timing = _timing(times)
    if timing.grid is not None:
        assert timing.grid.step * timing.rate == 1000
        for time in times:
            shown = timing.grid.start + timing.grid.place(time) * timing.grid.step
            assert abs(shown - time) <= timing.grid.step / 2


def test_b_frames_before_a_pause_are_no_reset_of_the_clock_and_an_appended_stream_is() -> None:
    def stamps(times: Sequence[int]) -> list[Stamp]:
        return [Stamp(time, 40, False, False) for time in times]

    reordered = [0, 160, 80, 40, 120, 9160, 200, 240, 280]
    assert sorted_times(stamps(reordered)) == sorted(reordered)
    assert sorted_times(stamps([*EVEN, *EVEN])) == []
