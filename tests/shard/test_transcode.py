import io
import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.videos import (
    DISPLAY_MATRICES,
    mapped_by,
    rotate_video,
    set_display_matrix,
    write_audio,
    write_video,
    write_video_with_cover,
)

from kdbatch.shard.originals import store_original
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


def test_groups_have_16_frames_and_most_frames_can_be_left_out(tmp_path: Path) -> None:
    packets = unpack_index(transcode(write_video(tmp_path / "a.avi", num_frames=160)).index)
    assert sorted(packet.display_index for packet in packets) == list(range(160))
    keys = [packet.display_index for packet in packets if packet.is_key]
    assert keys == list(range(0, 160, 16))
    spare = {packet.display_index for packet in packets if not packet.is_needed_by_others}
    assert 90 < len(spare) < 135
    # The first of a closed group is needed by all, and the last follows no other frame.
    assert not spare & {n for n in range(160) if n % 16 in (0, 15)}


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


@pytest.mark.parametrize("abcd", DISPLAY_MATRICES)
def test_each_of_the_eight_orientations_is_stored_upright(
    tmp_path: Path, abcd: tuple[int, ...]
) -> None:
    coded = write_video(tmp_path / "a.mp4", width=160, height=128)
    stored = transcode(set_display_matrix(coded, tmp_path / "turned.mp4", abcd))
    with av.open(io.BytesIO(stored.video), "r") as seen, av.open(str(coded)) as shot:
        for upright, frame in zip(seen.decode(video=0), shot.decode(video=0), strict=True):
            assert _correlation(upright, mapped_by(frame.to_ndarray(format="rgb24"), abcd)) > 0.99


def test_a_display_matrix_of_zeros_changes_nothing(tmp_path: Path) -> None:
    coded = write_video(tmp_path / "a.mp4", width=160, height=128)
    turned = set_display_matrix(coded, tmp_path / "turned.mp4", (0, 0, 0, 0))
    assert transcode(turned).video == transcode(coded).video


def test_a_display_matrix_that_stretches_is_followed(tmp_path: Path) -> None:
    coded = write_video(tmp_path / "a.mp4", width=160, height=128)
    stored = transcode(set_display_matrix(coded, tmp_path / "wide.mp4", (2, 0, 0, 1)))
    assert (stored.width, stored.height) == (320, 128)


SHAPES = [(Fraction(16, 11), (232, 128)), (Fraction(2, 3), (128, 154)), (Fraction(1), (160, 128))]


@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mpeg4")])
def test_pixels_that_are_not_square_are_stored_square(
    tmp_path: Path, name: str, codec: str, shape: Fraction, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / name, codec=codec, pixel_shape=shape, num_frames=3)
    stored = transcode(path)
    assert (stored.width, stored.height) == size
    with av.open(io.BytesIO(stored.video), "r") as seen, av.open(str(path)) as shot:
        for square, frame in zip(seen.decode(video=0), shot.decode(video=0), strict=True):
            assert _correlation(square, frame.reformat(*size).to_ndarray(format="rgb24")) > 0.99


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pixel_shape=Fraction(2), num_frames=3)
    stored = transcode(rotate_video(path, tmp_path / "turned.mp4"))
    assert (stored.width, stored.height) == (128, 320)


@pytest.mark.parametrize(
    ("of_container", "size"),
    [((2, 1), (320, 128)), ((0, 1), (232, 128)), ((1, 0), (232, 128)), ((1, 1), (160, 128))],
)
def test_the_container_says_the_shape_of_pixels_before_the_codec_does(
    tmp_path: Path, of_container: tuple[int, int], size: tuple[int, int]
) -> None:
    stored = transcode(_with_pixel_shape(tmp_path, of_container))
    assert (stored.width, stored.height) == size


@pytest.mark.parametrize("of_container", [(1, 1000), (1000, 1), (9, 2)])
def test_pixels_that_no_camera_has_are_refused_with_the_limit(
    tmp_path: Path, of_container: tuple[int, int]
) -> None:
    path = _with_pixel_shape(tmp_path, of_container)
    for store in (transcode, store_original):
        with pytest.raises(BrokenVideo, match=r"^its pixels are \d+:\d+, .* 1:4 to 4:1 can be"):
            store(path)


def test_an_original_whose_pixels_are_not_square_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", codec="libx264", pixel_shape=Fraction(4, 3))
    with pytest.raises(BrokenVideo, match="its pixels are not square; it must be transcoded"):
        store_original(path)


def _with_pixel_shape(folder: Path, of_container: tuple[int, int]) -> Path:
    """An mp4 whose codec says 16:11 and whose box `pasp` says another shape."""
    path = write_video(
        folder / "a.mp4", codec="libx264", pixel_shape=Fraction(16, 11), num_frames=3
    )
    old, new = (b"pasp" + struct.pack(">2I", *shape) for shape in ((16, 11), of_container))
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    return path


@pytest.mark.parametrize("is_first", [True, False])
def test_a_cover_is_not_taken_for_the_video(tmp_path: Path, is_first: bool) -> None:
    path = write_video_with_cover(tmp_path / "a.mp4", is_first=is_first)
    with av.open(str(path)) as container:
        assert [stream.codec_context.name for stream in container.streams.video] == (
            ["png", "h264"] if is_first else ["h264", "png"]
        )
    assert transcode(path).num_frames == 35


def test_a_preview_of_one_picture_is_not_taken_for_the_video(tmp_path: Path) -> None:
    """Cameras write one as a track of its own, which may be the first and the default one."""
    source, path = write_video(tmp_path / "a.mp4", codec="libx264"), tmp_path / "a.mkv"
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        preview = out.add_stream("mjpeg", rate=25)
        assert isinstance(preview, av.VideoStream)
        preview.width, preview.height, preview.pix_fmt = 640, 480, "yuvj420p"
        stream = out.add_stream_from_template(container.streams.video[0])
        stream.disposition = 0  # pyright: ignore[reportAttributeAccessIssue] - stubs say Disposition
        out.mux(preview.encode(av.VideoFrame(640, 480, "yuvj420p")))
        out.mux(preview.encode(None))
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert transcode(path).num_frames == store_original(path).num_frames == 35


def test_a_picture_that_is_too_narrow_for_the_encoder_is_refused_with_its_limit(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path / "a.mkv", width=16, height=4000, codec="ffv1", num_frames=2)
    with pytest.raises(
        BrokenVideo,
        match=r"its pictures are 16x4000: .*128x32000, and the H.264 encoder takes at most 16384",
    ):
        transcode(path)
    wide = write_video(tmp_path / "b.mkv", width=2048, height=16, codec="ffv1", num_frames=2)
    assert transcode(wide).width == 16_384
