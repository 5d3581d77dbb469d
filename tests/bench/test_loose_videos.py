from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos


def test_videos_of_any_codec_are_found_and_stored(toys: Path, tmp_path: Path) -> None:
    paths = [find_videos_below(toys / name)[0] for name in ("k400", "ucf101", "hmdb51")]
    assert {path.suffix for path in paths} == {".mp4", ".avi"}
    stored = shard_videos(paths, tmp_path, processes=1, progress=silent)
    assert [sample.key[:11] for _, sample in stored] == [
        f"loose{number:06d}" for number in range(3)
    ]
    assert all(
        tar.exists() and sample.num_frames > 16 and sample.extradata for tar, sample in stored
    )


def test_a_folder_without_videos_and_a_broken_video_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no video"):
        find_videos_below(tmp_path)
    (tmp_path / "a.mp4").write_text("no video")
    reason = "cannot be decoded: Invalid data [^.]*. Take it out of the folder.$"
    with pytest.raises(UserError, match=f"^{tmp_path}/a.mp4: {reason}"):
        shard_videos(find_videos_below(tmp_path), tmp_path / "out", processes=1, progress=silent)
