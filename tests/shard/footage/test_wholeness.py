"""A file that is cut short is found whatever its tracks are; a whole one is accepted."""

import io
import shutil
from pathlib import Path

import av
import pytest
from support.videos import cut_file, write_video, write_video_with_sound

from kdbatch.shard.originals import store_original
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import transcode

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof+delay_moov+global_sidx"}
TRACKS: dict[str, tuple[str, str, dict[str, str]]] = {
    "a.mkv": ("libx264", "aac", {}),
    "a.webm": ("libvpx", "libopus", {}),
    "a.flv": ("libx264", "aac", {}),
    "a.mp4": ("libx264", "aac", {"movflags": "+faststart"}),
    "fragments.mp4": ("libx264", "aac", FRAGMENTS),
    "a.mov": ("mpeg4", "aac", {"movflags": "+faststart"}),
    "a.avi": ("mpeg4", "mp2", {}),
    "a.mpg": ("mpeg2video", "mp2", {}),
    "a.ts": ("libx264", "aac", {}),
}


def _write(folder: Path, name: str, **options) -> Path:
    codec, audio, container_options = TRACKS[name]
    path = folder / name
    return write_video_with_sound(
        path, codec=codec, audio=audio, container_options=container_options, **options
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {name: _write(folder, name) for name in TRACKS}


@pytest.mark.parametrize("share", [0.317, 0.613, 0.931])
@pytest.mark.parametrize("name", TRACKS)
def test_a_video_with_sound_that_is_cut_short_is_broken(
    whole: dict[str, Path], tmp_path: Path, name: str, share: float
) -> None:
    path = cut_file(Path(shutil.copy(whole[name], tmp_path)), share)
    for store in (transcode, store_original):
        with pytest.raises(BrokenVideo, match=r"^is cut short: ") as caught:
            store(path)
        assert "100%" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.flv"])
def test_the_share_that_is_left_of_a_cut_file_is_told(
    whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    path = cut_file(Path(shutil.copy(whole[name], tmp_path)), 0.6)
    with pytest.raises(BrokenVideo, match=r"^is cut short: about (5[5-9]|6[0-5])% of it is there$"):
        transcode(path)


@pytest.mark.parametrize("audio_seconds", [0.5, 5.0])
@pytest.mark.parametrize("name", TRACKS)
def test_a_whole_video_is_stored_whether_its_sound_ends_before_or_after_the_pictures(
    tmp_path: Path, name: str, audio_seconds: float
) -> None:
    path = _write(tmp_path, name, audio_seconds=audio_seconds)
    assert transcode(path).num_frames == 60


@pytest.mark.parametrize("num_frames", [2, 5])
@pytest.mark.parametrize("name", TRACKS)
def test_a_whole_video_of_a_few_frames_is_stored(
    tmp_path: Path, name: str, num_frames: int
) -> None:
    path = _write(tmp_path, name, num_frames=num_frames, audio_seconds=num_frames / 25)
    assert transcode(path).num_frames == num_frames


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx")])
def test_a_cut_video_without_sound_and_with_many_key_frames_is_broken(
    tmp_path: Path, name: str, codec: str
) -> None:
    options = {"preset": "ultrafast", "g": "5", "deadline": "realtime", "cpu-used": "8"}
    path = write_video(tmp_path / name, codec=codec, options=options)
    assert transcode(path).num_frames == 35
    with pytest.raises(BrokenVideo, match=r"^is cut short: about"):
        transcode(cut_file(path, 0.6))


def test_a_matroska_file_whose_writer_knew_no_duration_is_stored(tmp_path: Path) -> None:
    path = write_video_with_sound(
        tmp_path / "a.mkv", codec="mpeg2video", audio="mp2", container_options={"live": "1"}
    )
    with av.open(str(path)) as container:
        assert not container.duration
    assert transcode(path).num_frames == 60


@pytest.mark.parametrize("name", ["a.mkv", "a.flv"])
def test_a_video_whose_times_start_late_is_whole_and_a_cut_one_is_not(
    tmp_path: Path, name: str
) -> None:
    source, path = _write(tmp_path, name), tmp_path / f"late-{name}"
    with av.open(str(source), "r") as container, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(stream) for stream in container.streams]
        for packet in container.demux():
            if packet.size:
                assert packet.pts is not None and packet.dts is not None
                late = round(3600 / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    assert transcode(path).num_frames == 60
    with pytest.raises(BrokenVideo, match="is cut short"):
        transcode(cut_file(path, 0.6))


def test_an_avi_with_empty_chunks_is_whole(tmp_path: Path) -> None:
    """A capture program writes an empty chunk for each frame that it dropped."""
    path = tmp_path / "a.avi"
    data = io.BytesIO(write_video(tmp_path / "even.avi").read_bytes())
    with av.open(data, "r") as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.pts = packet.dts = number + number // 4
                packet.stream = stream
                out.mux(packet)
    assert 30 < transcode(path).num_frames < 44
