"""Transcoding of real videos: size, quality and number of frames."""

from pathlib import Path

import av
import pytest
from support.inputs import real_clips

from kdbatch.base.progress import silent
from kdbatch.base.pyav import tolerant_open
from kdbatch.bench.data.fidelity import Fidelity, measure_fidelity
from kdbatch.bench.data.loose_videos import shard_videos
from kdbatch.shard.originals import store_original
from kdbatch.shard.stored import BrokenVideo
from kdbatch.vocab.shards.index import Sample


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, tuple[Sample, Fidelity]]:
    clips = real_clips()
    made = shard_videos(clips, tmp_path_factory.mktemp("real"), processes=1, progress=silent)
    return {
        path: (sample, measure_fidelity(path, tar, sample))
        for path, (tar, sample) in zip(clips, made, strict=True)
    }


def test_kinetics_shrinks_to_55_percent_and_keeps_its_quality(
    stored: dict[Path, tuple[Sample, Fidelity]],
) -> None:
    """One clip alone may lie below the 35 dB (RGB) that several reach on average."""
    for path in real_clips("*.mp4"):
        found = stored[path][1]
        assert found.share <= 0.55
        assert found.luma_db > 37 and found.rgb_db > 34, found
    assert sum(found.rgb_db for _, found in stored.values()) / len(stored) > 35


def test_every_frame_that_decodes_is_stored_once_and_in_order(
    stored: dict[Path, tuple[Sample, Fidelity]],
) -> None:
    for path, (sample, found) in stored.items():
        with tolerant_open(av.open, av.__version__)(str(path)) as source:
            num_frames = sum(1 for _ in source.decode(video=0))
        assert sample.num_frames == num_frames
        assert found.luma_db > 32  # frames that changed places would be far below


def test_hmdb51_is_refused_as_an_original_and_ucf101_is_not() -> None:
    for path in real_clips("hmdb51_*.avi"):
        with pytest.raises(BrokenVideo, match="must be transcoded"):
            store_original(path)
    for path in real_clips("v_*.avi"):
        assert store_original(path).video == path.read_bytes()
