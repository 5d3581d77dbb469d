"""Frame rates that cannot be stored are told with the limit."""

import re
from fractions import Fraction
from pathlib import Path

import pytest
from support.videos import write_video

from kdbatch.shard.footage.timing import frame_timing
from kdbatch.shard.originals import store_original
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import transcode

H264 = {"preset": "ultrafast"}


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
    assert timing.rate == timing.source_rate == Fraction(4000, 340).limit_denominator(1001)


def test_a_rate_that_no_one_states_is_not_known() -> None:
    with pytest.raises(BrokenVideo, match="its frame rate is not known"):
        frame_timing([], Fraction(1, 1000), declared=None, nominal=None)
