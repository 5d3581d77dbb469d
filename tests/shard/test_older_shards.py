"""Shards of older versions, in which every second frame is a B-frame, beside those of today."""

from pathlib import Path

import numpy as np
import pytest
from support.older_shards import VERSION_2, store_as_version_2

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.shard.build import build_shards
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.packet_index import unpack_index
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import TRANSCODED, load_index
from kdbatch.vocab.shards.subset import Subset, find_subset, load_samples

REQUEST = ShardRequest(dataset="k400", split="val", videos_per_shard=5, processes=1)


@pytest.fixture
def older(toys: Path, tmp_path: Path) -> Path:
    """A folder with shards of version 2."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        store_as_version_2(monkeypatch)
        build_shards(REQUEST, root=toys / "k400", shards_dir=tmp_path / "older", progress=silent)
    return tmp_path / "older"


def subset_in(shards_dir: Path) -> Subset:
    return find_subset(load_index(shards_dir, "k400"), "val", "all", where="here")


def test_every_clip_of_older_shards_is_read_and_verified(older: Path) -> None:
    assert load_index(older, "k400").encoding == VERSION_2
    assert verify_shards("k400", shards_dir=older, progress=silent) > 0
    for tar, sample in load_samples(older, subset_in(older)):
        index = tar.read_bytes()[sample.index_offset : sample.index_offset + sample.index_bytes]
        spare = [p.display_index for p in unpack_index(index) if not p.is_needed_by_others]
        assert spare and all(number % 2 for number in spare)  # as version 2 stored them
        every = list(range(sample.num_frames))
        frame_NHWC = decode_frames(tar, sample, every, decoder="pyav")
        even = decode_frames(tar, sample, every[::2], decoder="pyav")
        np.testing.assert_array_equal(frame_NHWC[::2], even)


def test_today_s_shards_have_other_digests_so_that_their_runs_have_other_ids(
    older: Path, toys: Path, tmp_path: Path
) -> None:
    build_shards(REQUEST, root=toys / "k400", shards_dir=tmp_path / "new", progress=silent)
    assert load_index(tmp_path / "new", "k400").encoding == TRANSCODED != VERSION_2
    assert subset_in(tmp_path / "new").digest != subset_in(older).digest


def test_nothing_is_added_to_older_shards(older: Path, toys: Path) -> None:
    with pytest.raises(
        UserError,
        match=(
            f"stored as '{VERSION_2}', not as '{TRANSCODED}'. Runs can read them, but nothing is "
            "added to them. Make all of its shards again: rm -r .*older/k400 && kdbatch shard k400"
        ),
    ):
        build_shards(REQUEST, root=toys / "k400", shards_dir=older, progress=silent)
