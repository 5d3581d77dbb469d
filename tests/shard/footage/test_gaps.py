"""Files that are damaged in the middle: libav skips what it cannot read there, and says nothing."""

from pathlib import Path

import pytest
from support.videos import write_video, write_video_with_sound

from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import transcode

WRITERS = {
    "a.mkv": ("mpeg4", "aac", {"cluster_time_limit": "400"}),
    "live.mkv": ("mpeg4", "aac", {"cluster_time_limit": "400", "live": "1"}),
    "a.webm": ("libvpx-vp9", "libopus", {"cluster_time_limit": "400"}),
    "a.flv": ("flv", "libmp3lame", {}),
}


def _write(folder: Path, name: str) -> Path:
    codec, audio, options = WRITERS[name]
    if name.endswith(".flv"):
        return write_video(folder / name, codec=codec, num_frames=60)
    return write_video_with_sound(
        folder / name, codec=codec, audio=audio, container_options=options
    )


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
@pytest.mark.parametrize("what", ["zeros", "nothing"])
def test_a_file_with_a_gap_is_broken(tmp_path: Path, name: str, share: float, what: str) -> None:
    path = _write(tmp_path, name)
    assert transcode(path).num_frames == 60
    data = path.read_bytes()
    start, size = int(len(data) * share), len(data) // 8
    path.write_bytes(data[:start] + bytes(size if what == "zeros" else 0) + data[start + size :])
    with pytest.raises(BrokenVideo, match="is (damaged|cut short)"):
        transcode(path)


@pytest.mark.parametrize("name", WRITERS)
def test_zeros_after_the_end_are_no_damage(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path, name)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert transcode(path).num_frames == 60


def test_a_text_that_names_other_files_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "other.mp4")
    path = tmp_path / "a.mp4"
    path.write_text("ffconcat version 1.0\nfile other.mp4\nfile other.mp4\n")
    with pytest.raises(BrokenVideo, match=r"is a list of other files \(concat\), not a video"):
        transcode(path)
