import io
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.videos import rotate_video, write_audio, write_video

from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import count_frames, output_size, transcode
from kdbatch.vocab.packet_index import packet_checksum, unpack_index


def test_a_stored_video_has_every_frame_the_rate_and_the_short_side(tmp_path: Path) -> None:
    stored = transcode(
        write_video(tmp_path / "a.avi", width=200, height=150, rate=Fraction(30000, 1001))
    )
    assert (stored.num_frames, stored.width, stored.height) == (35, 170, 128)
    assert stored.fps == pytest.approx(30000 / 1001)
    assert count_frames(stored.video) == 35


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", width=160, height=120)
    assert len({transcode(path) for _ in range(4)}) == 1


def test_groups_have_16_frames_and_every_other_frame_can_be_left_out(tmp_path: Path) -> None:
    packets = unpack_index(transcode(write_video(tmp_path / "a.avi", width=160, height=120)).index)
    assert sorted(packet.display_index for packet in packets) == list(range(35))
    assert [packet.display_index for packet in packets if packet.is_key] == [0, 16, 32]
    spare = {packet.display_index for packet in packets if not packet.is_needed_by_others}
    assert spare and all(frame % 2 for frame in spare)
    assert {frame for frame in range(35) if frame % 2} - spare == {
        15,
        31,
    }  # the last of a closed group follows no other frame


def test_the_index_points_at_the_packets_and_the_header_comes_first(tmp_path: Path) -> None:
    stored = transcode(write_video(tmp_path / "a.avi", width=160, height=120))
    packets = unpack_index(stored.index)
    assert stored.video.index(b"moov") < stored.video.index(b"mdat") < packets[0].offset
    assert packets[0].offset + sum(packet.size for packet in packets) <= len(stored.video)
    assert len(stored.index) == 13 * 35 + 4
    assert all(
        packet_checksum(stored.video[p.offset : p.offset + p.size]) == p.checksum for p in packets
    )


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((340, 256), (170, 128)),
        ((256, 340), (128, 170)),
        ((128, 128), (128, 128)),
        ((64, 32), (256, 128)),
        ((101, 99), (130, 128)),
    ],
)
def test_small_sizes_are_even_and_keep_their_shape(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    assert output_size(*size) == small


def test_a_video_with_a_rotation_is_stored_upright(tmp_path: Path) -> None:
    sideways = write_video(tmp_path / "a.mp4", width=160, height=128)
    stored = transcode(rotate_video(sideways, tmp_path / "turned.mp4"))
    assert (stored.width, stored.height) == (128, 160)
    with av.open(io.BytesIO(stored.video), "r") as seen, av.open(str(sideways)) as shot:
        for upright, frame in zip(seen.decode(video=0), shot.decode(video=0), strict=True):
            # That matrix maps what is on the right (1, 0) to below (0, 1): a quarter turn
            # clockwise.
            assert _correlation(upright, np.rot90(frame.to_ndarray(format="rgb24"), -1)) > 0.99


def _correlation(frame: av.VideoFrame, picture_HW3: np.ndarray) -> float:
    """The correlation of two pictures of equal size."""
    return float(np.corrcoef(frame.to_ndarray(format="rgb24").ravel(), picture_HW3.ravel())[0, 1])


def test_odd_sizes_are_stored(tmp_path: Path) -> None:
    assert transcode(write_video(tmp_path / "a.avi", width=161, height=121)).num_frames == 35


def test_a_single_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenVideo, match="holds one frame, which is a picture"):
        transcode(write_video(tmp_path / "a.mp4", num_frames=1))


def test_a_full_temporary_folder_is_an_os_error(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            transcode(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is no video\n" * 100, "cannot be decoded: Invalid data"),
        (None, "cannot be decoded: No such file"),
    ],
)
def test_a_file_that_is_no_video_is_broken_with_a_reason(
    tmp_path: Path, data: bytes | None, reason: str
) -> None:
    path = tmp_path / "a.mp4"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(
        BrokenVideo, match=reason.replace("cannot be decoded: No", "cannot be (decoded|read): No")
    ):
        transcode(path)


def test_a_file_with_audio_only_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenVideo, match="holds no video stream"):
        transcode(write_audio(tmp_path / "a.mp4"))
