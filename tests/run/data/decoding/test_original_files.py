"""Originals, which were stored without being transcoded, read by decord and by PyAV."""

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.inputs import JOBS, real_clips
from support.videos import (
    DISPLAY_MATRICES,
    bar_positions,
    mapped_by,
    set_display_matrix,
    write_video,
    write_video_with_cover,
    write_video_with_latin1_title,
)

from kdbatch.base.errors import UserError
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding import decode, original_files
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.shard.originals import store_original
from kdbatch.shard.transcode import count_frames
from kdbatch.vocab.shards.index import Sample

needs_decord = pytest.mark.skipif(
    not original_files.HAS_DECORD, reason="compares with decord, which has no wheel for ARM"
)


def _store(path: Path, folder: Path) -> tuple[Path, Sample]:
    """The file inside a tar, as far as a reader sees: its bytes at an offset."""
    stored = store_original(path)
    tar = folder / f"{path.name}.tar"
    tar.write_bytes(bytes(512) + stored.video)
    sample = Sample(
        key="a",
        place=0,
        label=0,
        splits=("train",),
        group="g",
        num_frames=stored.num_frames,
        fps=stored.fps,
        source_fps=stored.source_fps,
        width=stored.width,
        height=stored.height,
        offset=512,
        num_bytes=len(stored.video),
        index_offset=0,
        index_bytes=0,
        crc32=zlib.crc32(stored.video),
        extradata="",
        container=stored.container,
    )
    return tar, sample


@pytest.fixture
def no_decord(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(original_files, "HAS_DECORD", False)


def _largest_difference(path: Path, folder: Path, no_decord: Callable[[], None]) -> int:
    """All frames in one request, and of some in any order, by decord and by PyAV."""
    tar, sample = _store(path, folder)
    last = sample.num_frames - 1
    requests = [
        list(range(last + 1)),
        [last],
        [last // 2, 3, last // 2, last - 1],
        *[[frame] for frame in np.random.default_rng(0).integers(last + 1, size=6).tolist()],
    ]
    by_decord = [decode_frames(tar, sample, wanted, decoder="pyav") for wanted in requests]
    no_decord()
    by_pyav = [decode_frames(tar, sample, wanted, decoder="pyav") for wanted in requests]
    return max(
        int(np.abs(one.astype(int) - other).max())
        for one, other in zip(by_decord, by_pyav, strict=True)
    )


@needs_decord
@pytest.mark.parametrize(
    ("name", "suffix", "tolerance"), [("k400", "mp4", 0), ("ssv2", "webm", 0), ("ucf101", "avi", 2)]
)
def test_pyav_gives_the_frames_of_decord(
    toys: Path, tmp_path: Path, name: str, suffix: str, tolerance: int, no_decord
) -> None:
    path = next((toys / name).rglob(f"*.{suffix}"))
    assert _largest_difference(path, tmp_path, no_decord) <= tolerance


@needs_decord
@pytest.mark.parametrize(
    "options",
    [
        {"g": "9", "x264-params": "bframes=3:b-pyramid=normal"},
        {"g": "250", "x264-params": "bframes=2"},
        {"g": "1"},
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pyav_gives_the_frames_of_decord_with_any_group_of_pictures(
    tmp_path: Path, suffix: str, options: dict[str, str], no_decord
) -> None:
    path = write_video(tmp_path / f"a.{suffix}", codec="libx264", options=options)
    assert _largest_difference(path, tmp_path, no_decord) == 0


@pytest.mark.parametrize("has_decord", [True, False])
def test_frames_of_open_groups_are_whole(tmp_path: Path, no_decord, has_decord: bool) -> None:
    """decord alone gives damaged pictures for frames 7 to 10."""
    if not has_decord:
        no_decord()
    options = {"g": "9", "x264-params": "bframes=3:open-gop=1:b-pyramid=normal"}
    path = write_video(tmp_path / "a.mp4", codec="libx264", options=options)
    tar, sample = _store(path, tmp_path)
    for wanted in ([7], [8], [9], [10], [34, 10, 0]):
        assert bar_positions(list(decode_frames(tar, sample, wanted, decoder="pyav"))) == wanted


@needs_decord
def test_pyav_gives_the_frames_of_decord_at_uneven_times(tmp_path: Path, no_decord) -> None:
    times = [40 * index + (7 * index * index) % 23 for index in range(35)]
    path = write_video(tmp_path / "a.mp4", codec="libx264", milliseconds=times)
    assert _largest_difference(path, tmp_path, no_decord) == 0


@pytest.mark.parametrize("has_decord", [True, False])
@pytest.mark.parametrize("abcd", DISPLAY_MATRICES)
def test_a_picture_is_upright_in_each_of_the_eight_orientations(
    tmp_path: Path, no_decord, abcd: tuple[int, ...], has_decord: bool
) -> None:
    """decord alone turns mirror images upside down."""
    if not has_decord:
        no_decord()
    path = write_video(tmp_path / "a.mp4", codec="libx264", width=160, height=128)
    turned = set_display_matrix(path, tmp_path / "turned.mp4", abcd)
    wanted = [9, 30]
    coded = decode_frames(*_store(path, tmp_path), wanted, decoder="pyav")
    shown = decode_frames(*_store(turned, tmp_path), wanted, decoder="pyav")
    for coded_HWC, shown_HWC in zip(coded, shown, strict=True):
        np.testing.assert_array_equal(shown_HWC, mapped_by(coded_HWC, abcd))


@pytest.mark.parametrize("has_decord", [True, False])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_cover_is_not_read_for_the_video(
    tmp_path: Path, no_decord, is_first: bool, has_decord: bool
) -> None:
    if not has_decord:
        no_decord()
    tar, sample = _store(write_video_with_cover(tmp_path / "a.mp4", is_first=is_first), tmp_path)
    assert bar_positions(list(decode_frames(tar, sample, [7, 30], decoder="pyav"))) == [7, 30]
    assert count_frames(tar.read_bytes()[512:]) == sample.num_frames == 35


@needs_decord
@pytest.mark.parametrize("pattern", ["*.mp4", "v_*.avi"])
def test_pyav_gives_the_frames_of_decord_of_real_videos(
    tmp_path: Path, pattern: str, no_decord
) -> None:
    for path in real_clips(pattern):
        tolerance = 2 if path.suffix == ".avi" else 0
        assert _largest_difference(path, tmp_path, no_decord) <= tolerance


@pytest.mark.parametrize("has_decord", [True, False])
def test_a_title_that_is_not_utf8_does_no_harm(tmp_path: Path, no_decord, has_decord: bool) -> None:
    if not has_decord:
        no_decord()
    tar, sample = _store(write_video_with_latin1_title(tmp_path / "a.mp4"), tmp_path)
    assert bar_positions(list(decode_frames(tar, sample, [7, 3], decoder="pyav"))) == [7, 3]


def test_frames_without_time_stamps_are_counted(tmp_path: Path, no_decord) -> None:
    no_decord()
    tar, sample = _store(write_video(tmp_path / "a.avi", options={"g": "12"}), tmp_path)
    wanted = [31, 2, 17, 30, 0]
    assert bar_positions(list(decode_frames(tar, sample, wanted, decoder="pyav"))) == wanted
    assert bar_positions(list(decode_frames(tar, sample, [25], decoder="pyav"))) == [25]


def test_damage_is_found_without_decord(tmp_path: Path, no_decord) -> None:
    no_decord()
    path = write_video(tmp_path / "a.mp4", codec="libx264")
    tar, sample = _store(path, tmp_path)
    raw = bytearray(tar.read_bytes())
    raw[700:900] = bytes(200)
    tar.write_bytes(raw)
    with pytest.raises(UserError, match="a cannot be read .its checksum is wrong"):
        decode_frames(tar, sample, [0], decoder="pyav")


def test_an_environment_without_decord_reads_originals_and_names_what_is_missing(
    tmp_path: Path,
) -> None:
    tar, sample = _store(write_video(tmp_path / "a.mp4", codec="libx264"), tmp_path)
    code = (
        "import sys; sys.modules['decord'] = None\n"
        "from pathlib import Path\n"
        "from kdbatch.base.errors import UserError\n"
        "from kdbatch.bench.data import baselines\n"
        "from kdbatch.run.data.clip_reader import ClipReader\n"
        "from kdbatch.run.data.decoding.decode import DECODERS, decode_frames\n"
        "from kdbatch.vocab.shards.index import Sample\n"
        f"frames = decode_frames(Path({str(tar)!r}), {sample!r}, [5, 30], decoder='pyav')\n"
        "print(frames.shape, 'decord' in DECODERS)\n"
        "try: ClipReader(decoder='decord')\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=JOBS.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "(2, 128, 160, 3) False",
        'decoder = "decord": it is not installed here. It comes with pip install '
        "'kdbatch[worker]' on x86-64, and exists for nothing else. Or write decoder = \"pyav\" in "
        "kdbatch.toml: all decoders give the same frames.",
    ]


def test_a_reader_with_a_decoder_that_is_not_installed_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = {name: read for name, read in decode.DECODERS.items() if name != "torchcodec"}
    monkeypatch.setattr(decode, "DECODERS", without)
    with pytest.raises(UserError, match=r"pip install 'kdbatch\[torchcodec\]'"):
        ClipReader(decoder="torchcodec")


def test_torchcodec_without_ffmpeg_is_refused_before_a_shard_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torchcodec = ModuleType("torchcodec")
    monkeypatch.setattr(torchcodec, "ffmpeg_major_version", None, raising=False)
    monkeypatch.setitem(sys.modules, "torchcodec", torchcodec)
    decoders = {**decode.DECODERS, "torchcodec": decode.DECODERS["pyav"]}
    monkeypatch.setattr(decode, "DECODERS", decoders)
    with pytest.raises(UserError, match="cannot load the libraries of FFmpeg .*FFmpeg module"):
        ClipReader(decoder="torchcodec")
