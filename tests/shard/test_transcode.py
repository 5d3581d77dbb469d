from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import count_frames, small_size, transcode
from kdbatch.vocab.packets import unpack_index


def _write(path: Path, *, width: int, height: int, rate: Fraction = Fraction(25), num_frames: int = 35) -> Path:
    """A white bar that moves right over a grey slope, MPEG-4 part 2."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate, options={"b": "2M"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(num_frames):
            picture_HW3 = np.broadcast_to(np.linspace(0, 120, height, dtype=np.uint8)[:, None, None], (height, width, 3)).copy()
            picture_HW3[:, 2 * index : 2 * index + 12] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture_HW3, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_stored_video_has_every_frame_the_rate_and_the_short_side(tmp_path: Path) -> None:
    stored = transcode(_write(tmp_path / "a.avi", width=200, height=150, rate=Fraction(30000, 1001)))
    assert (stored.num_frames, stored.width, stored.height) == (35, 170, 128)
    assert stored.fps == pytest.approx(30000 / 1001)
    assert count_frames(stored.video) == 35


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.avi", width=160, height=120)
    assert len({transcode(path) for _ in range(4)}) == 1


def test_groups_have_16_frames_and_every_other_frame_can_be_left_out(tmp_path: Path) -> None:
    packets = unpack_index(transcode(_write(tmp_path / "a.avi", width=160, height=120)).index)
    assert sorted(packet.display for packet in packets) == list(range(35))
    assert [packet.display for packet in packets if packet.is_key] == [0, 16, 32]
    spare = {packet.display for packet in packets if not packet.is_needed_by_others}
    assert spare and all(frame % 2 for frame in spare)
    assert {frame for frame in range(35) if frame % 2} - spare == {15, 31}  # the last of a closed group follows no other frame


def test_the_index_points_at_the_packets_and_the_head_comes_first(tmp_path: Path) -> None:
    stored = transcode(_write(tmp_path / "a.avi", width=160, height=120))
    packets = unpack_index(stored.index)
    assert stored.video.index(b"moov") < stored.video.index(b"mdat") < packets[0].offset
    assert packets[0].offset + sum(packet.size for packet in packets) <= len(stored.video)
    assert len(stored.index) == 11 * 35


@pytest.mark.parametrize(
    ("size", "small"),
    [((340, 256), (170, 128)), ((256, 340), (128, 170)), ((128, 128), (128, 128)), ((64, 32), (256, 128)), ((101, 99), (130, 128))],
)
def test_small_sizes_are_even_and_keep_their_shape(size: tuple[int, int], small: tuple[int, int]) -> None:
    assert small_size(*size) == small


def test_a_video_that_was_turned_by_the_camera_is_stored_upright(tmp_path: Path) -> None:
    lying = _write(tmp_path / "a.mp4", width=160, height=128)
    stored = transcode(_turned(lying, tmp_path / "turned.mp4"))
    assert (stored.width, stored.height) == (128, 160)


def _turned(path: Path, out: Path) -> Path:
    """The same file with a display matrix of a quarter turn: 16.16 fixed point, ISO/IEC 14496-12 8.3.2, in its track header."""
    raw = path.read_bytes()
    upright = b"".join(number.to_bytes(4, "big") for number in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    quarter = b"".join((number % (1 << 32)).to_bytes(4, "big") for number in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
    head = raw.index(b"tkhd")
    assert raw.index(upright, head) < head + 80
    out.write_bytes(raw[:head] + raw[head:].replace(upright, quarter, 1))
    return out


def test_odd_sizes_are_stored(tmp_path: Path) -> None:
    assert transcode(_write(tmp_path / "a.avi", width=161, height=121)).num_frames == 35


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty file"), (b"this is no video\n" * 100, "cannot be decoded: Invalid data"), (None, "cannot be decoded: No such file")],
)
def test_what_is_no_video_is_broken_with_a_reason(tmp_path: Path, data: bytes | None, reason: str) -> None:
    path = tmp_path / "a.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(BrokenVideo, match=reason.replace("cannot be decoded: No", "cannot be (decoded|read): No")):
        transcode(path)


def test_a_file_with_sound_alone_is_broken(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(BrokenVideo, match="holds no video stream"):
        transcode(tmp_path / "a.wav")
