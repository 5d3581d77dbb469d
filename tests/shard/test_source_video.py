import io
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.videos import bar_positions, write_video, write_video_with_latin1_title

from kdbatch.shard.footage.timing import frames_at_constant_rate
from kdbatch.shard.originals import store_original
from kdbatch.shard.source_video import inspect_video
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import count_frames, transcode

H264 = {"preset": "ultrafast", "threads": "1"}
VP8 = {"deadline": "realtime", "cpu-used": "8", "threads": "1"}
UNEVEN = (
    0,
    40,
    80,
    120,
    160,
    200,
    240,
    280,
    320,
    360,
    400,
    600,
    640,
    680,
    720,
    760,
    800,
    840,
    880,
    920,
)  # 160 ms without a frame


def test_an_even_rate_is_kept_and_so_is_every_frame(tmp_path: Path) -> None:
    timing = inspect_video(write_video(tmp_path / "a.mp4", rate=Fraction(30000, 1001)))
    assert (timing.rate, timing.source_rate, timing.repeats) == (
        Fraction(30000, 1001),
        Fraction(30000, 1001),
        None,
    )


def test_times_that_are_rounded_to_milliseconds_are_even(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", codec="libvpx", rate=30, options=VP8)
    timing = inspect_video(path)
    assert timing.repeats is None
    assert float(timing.rate) == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", H264), ("a.mkv", "libx264", H264), ("b.mp4", "mpeg4", {})],
)
def test_uneven_times_are_resampled_to_the_average_rate_with_frames_repeated_in_the_gap(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, codec=codec, options=options, milliseconds=UNEVEN)
    stored = transcode(path)
    rate = (len(UNEVEN) - 1) / 0.92
    assert stored.num_frames == len(UNEVEN)
    assert stored.fps == pytest.approx(rate, rel=1e-3)
    assert stored.source_fps != stored.fps
    with av.open(io.BytesIO(stored.video), "r") as container:
        seen = bar_positions(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        )
    nearest = [
        min(range(len(UNEVEN)), key=lambda i, t=k / rate * 1000: (abs(UNEVEN[i] - t), i))
        for k in range(len(UNEVEN))
    ]
    assert Counter(nearest).most_common(1)[0][1] > 1
    assert seen == nearest


@given(st.lists(st.integers(1, 200), min_size=2, max_size=40), st.integers(-1000, 1000))
def test_at_a_constant_rate_there_are_as_many_frames_as_before_and_both_ends_are_kept(
    gaps: list[int], start: int
) -> None:
    times = [start]
    for gap in gaps:
        times.append(times[-1] + gap)
    rate = Fraction(len(gaps) * 1000, times[-1] - times[0])
    repeats = frames_at_constant_rate(times, Fraction(1, 1000), rate)
    assert sum(repeats.values()) == len(times)
    assert set(repeats) <= set(times)
    assert repeats[times[0]] >= 1 and repeats[times[-1]] >= 1


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.mp4", "libx264", H264), ("a.webm", "libvpx", VP8), ("a.avi", "mpeg4", {})],
)
def test_a_file_that_is_cut_short_anywhere_is_broken(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], share: float
) -> None:
    path = write_video(tmp_path / name, codec=codec, options=options)
    if name == "a.mp4":
        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "+faststart"}) as out,
        ):
            stream = out.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        path = tmp_path / "fast.mp4"
    assert transcode(path).num_frames == 35
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BrokenVideo, match="cut short|cannot be decoded: Invalid data"):
        transcode(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_whose_last_packet_is_a_b_frame_is_whole(tmp_path: Path, name: str) -> None:
    path = write_video(
        tmp_path / name, codec="libx264", options={"g": "250", "x264-params": "bframes=2"}
    )
    assert transcode(path).num_frames == store_original(path).num_frames == 35


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_title_that_is_not_utf8_does_no_harm(tmp_path: Path, name: str) -> None:
    path = write_video_with_latin1_title(tmp_path / name)
    assert transcode(path).num_frames == 35
    assert count_frames(store_original(path).video) == 35
