import io
from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.videos import bar_positions, write_video, write_video_with_latin1_title

from kdbatch.shard.originals import store_original
from kdbatch.shard.source_video import inspect_video
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import count_frames, transcode

H264 = {"preset": "ultrafast", "threads": "1"}
VP8 = {"deadline": "realtime", "cpu-used": "8", "threads": "1"}


def test_an_even_rate_is_kept_and_so_is_every_frame(tmp_path: Path) -> None:
    timing = inspect_video(write_video(tmp_path / "a.mp4", rate=Fraction(30000, 1001)))
    assert (timing.rate, timing.source_rate, timing.grid) == (
        Fraction(30000, 1001),
        Fraction(30000, 1001),
        None,
    )


def test_times_that_are_rounded_to_milliseconds_are_even(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", codec="libvpx", rate=30, options=VP8)
    timing = inspect_video(path)
    assert timing.grid is None
    assert float(timing.rate) == pytest.approx(30, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"x264-params": "bframes=3", "g": "250"}),
        ("a.mkv", "libx264", H264),
        ("b.mp4", "mpeg4", {}),
    ],
)
def test_a_pause_keeps_its_length_and_the_motion_around_it_every_frame(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    times = [40 * i + (3000 if i >= 20 else 0) for i in range(35)]
    path = write_video(tmp_path / name, codec=codec, options=options, milliseconds=times)
    stored = transcode(path)
    assert stored.fps == 25
    with av.open(io.BytesIO(stored.video), "r") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert bar_positions(frames) == [*range(20), *[19] * 75, *range(20, 35)]


def test_an_uneven_original_is_refused(tmp_path: Path) -> None:
    times = [40 * i + (3000 if i >= 20 else 0) for i in range(35)]
    path = write_video(tmp_path / "a.mkv", milliseconds=times)
    with pytest.raises(BrokenVideo, match="at uneven times; it must be transcoded"):
        store_original(path)


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
