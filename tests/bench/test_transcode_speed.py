import io
import time
from pathlib import Path

import av
import pytest

from kdbatch.base.progress import silent
from kdbatch.bench.data import transcode_speed
from kdbatch.bench.data.loose_videos import find_videos_below
from kdbatch.shard.transcode import transcode


def _packets(file: Path | io.BytesIO) -> list[bytes]:
    with av.open(file, "r") as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("name", ["k400", "hmdb51"])
def test_what_sharding_is_compared_with_makes_the_same_packets(
    toys: Path, tmp_path: Path, name: str
) -> None:
    path = find_videos_below(toys / name)[0]
    transcode_speed.transcode_only(path, tmp_path / "plain.mp4")
    assert _packets(tmp_path / "plain.mp4") == _packets(io.BytesIO(transcode(path).video))


def test_the_share_is_of_processor_time_over_the_first_videos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FFmpeg takes 20 ms for each of five videos, sharding takes 200 ms for all of them."""
    monkeypatch.setattr(transcode_speed, "transcode_only", lambda path, out_path: _work(0.02))
    monkeypatch.setattr(
        transcode_speed, "shard_videos", lambda paths, folder, **_: _work(0.04 * len(paths))
    )
    assert transcode_speed.relative_transcode_speed(
        [Path("a.mp4")] * 9, progress=silent, repeats=3
    ) == pytest.approx(0.5, rel=0.1)


def _work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_share_of_real_sharding_is_some_part_of_one(toys: Path) -> None:
    assert (
        0.2
        < transcode_speed.relative_transcode_speed(
            find_videos_below(toys / "hmdb51")[:2], progress=silent, repeats=3
        )
        < 1.2
    )
