"""The frame cache where another user of the node was first: his files are not read or written."""

import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import clips
from support.clips import read_frames

from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.run.data.decoding.frame_cache import FrameCache, find_frame_cache
from kdbatch.run.data.decoding.frame_cache_files import cache_file_name
from kdbatch.vocab.runs.cache import Cache

OTHER = 12345
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files of another user need root")


@pytest.fixture
def node_memory() -> Iterator[Path]:
    """A folder such as /dev/shm."""
    folder = Path(f"/dev/shm/kdbatch-test-{os.getpid()}")
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def video(all_shards: Path) -> StoredVideo:
    return clips.videos_of(all_shards, "k400")[0]


def _is_right(video: StoredVideo, cache: FrameCache | None) -> bool:
    found = read_frames(
        video.tar, video.sample, [3, 20], clip_reader=ClipReader(decoder="pyav", cache=cache)
    )
    return np.array_equal(found, decode_frames(video.tar, video.sample, [3, 20], decoder="pyav"))


def _forged(video: StoredVideo, folder: Path) -> Path:
    """Frames of another user's, complete and with right checksums, as he would write them."""
    folder.mkdir()
    other = FrameCache(folder, max_bytes=10**9)
    assert other.add(video.tar, video.sample)
    path = folder / cache_file_name(video.sample)
    raw = bytearray(path.read_bytes())
    frame = video.sample.width * video.sample.height * 3 // 2
    start = len(raw) - frame * video.sample.num_frames
    raw[start:] = bytes(frame) * video.sample.num_frames

    crc = np.full(video.sample.num_frames, zlib.crc32(bytes(frame)), np.uint32)
    raw[: crc.nbytes] = crc.tobytes()
    path.write_bytes(raw)
    return path


def test_forged_frames_with_right_checksums_are_read_where_they_are_ones_own(
    video: StoredVideo, node_memory: Path
) -> None:
    """Which shows that the checksums do not protect, and that the tests below can fail."""
    _forged(video, node_memory / "a")
    assert not _is_right(video, FrameCache(node_memory / "a", max_bytes=10**9))


def test_the_folder_of_another_user_is_not_used_and_said_once(
    video: StoredVideo, node_memory: Path
) -> None:
    folder = node_memory / f"frames-{os.geteuid()}"
    path = _forged(video, folder)
    for each in (folder, path, folder / "ledger"):
        os.chown(each, OTHER, OTHER)
    folder.chmod(0o777)
    said: list[str] = []
    cache = find_frame_cache(Cache(path=str(node_memory / "frames")), warn=said.append)
    assert cache is None and len(said) == 1
    assert f"{folder}: belongs to another user (uid {OTHER})" in said[0]
    assert _is_right(video, FrameCache(folder, max_bytes=10**9))  # if it is made foreign later
    assert Cache(path=str(node_memory / "frames")).problem(str).startswith(str(folder))


def test_a_forged_video_inside_ones_own_folder_is_written_again(
    video: StoredVideo, node_memory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _forged(video, node_memory / "a")
    os.chown(path, OTHER, OTHER)
    cache = FrameCache(node_memory / "a", max_bytes=10**9)
    assert _is_right(video, cache) and path.stat().st_uid == os.geteuid()
    assert len(caplog.records) == 1 and "contained a foreign video" in caplog.text


@pytest.mark.parametrize("name", ["ledger", "video", "video.part"])
def test_a_link_in_the_folder_is_not_written_through(
    video: StoredVideo, node_memory: Path, tmp_path: Path, name: str
) -> None:
    victim, folder = tmp_path / "authorized_keys", node_memory / "a"
    victim.write_text("ssh-ed25519 AAAA victim@host\n")
    folder.mkdir(mode=0o700)
    (folder / name.replace("video", cache_file_name(video.sample))).symlink_to(victim)
    assert _is_right(video, FrameCache(folder, max_bytes=10**9))
    assert victim.read_text() == "ssh-ed25519 AAAA victim@host\n"


def test_each_user_has_a_folder_of_his_own_beside_or_in_the_named_one(
    node_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE", str(node_memory))
    uid = os.geteuid()
    for path, name in (("$NODE/frames", "frames"), ("${NODE}", "kdbatch"), ("$NODE", "kdbatch")):
        folder = Cache(path=path).private_folder(os.path.expandvars)
        assert folder == node_memory / f"{name}-{uid}" and folder.stat().st_mode & 0o777 == 0o700
    assert "has not set it" in Cache(path="$KDBATCH_NOWHERE/a").problem(os.path.expandvars)
