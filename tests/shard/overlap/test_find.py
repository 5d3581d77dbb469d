"""`kdbatch shard overlap` on copies whose sources are known."""

import shutil
from pathlib import Path

import pytest
from support.altered_videos import FOUND, NUM_COPIED

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.overlap import hash_files
from kdbatch.shard.overlap.find import Overlap, find_overlap
from kdbatch.shard.overlap.read_frames import read_frames
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples

ALTERED = list(FOUND)
NUM_COPIES = NUM_COPIED * len(FOUND)


def overlap_of(shards_dir: Path, first: str = "k400", second: str = "ucf101") -> Overlap:
    return find_overlap(first, second, shards_dir=shards_dir, processes=1, progress=silent)


@pytest.fixture
def own(copies: Path, tmp_path: Path) -> Path:
    """A copy of the shards that a test may change."""
    shutil.copytree(copies, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The videos that are decoded."""
    videos: list[bytes] = []

    def counted(video: bytes, **settings) -> object:
        videos.append(video)
        return read_frames(video, **settings)

    monkeypatch.setattr(hash_files, "read_frames", counted)
    return videos


def test_every_copy_is_listed_with_its_source_and_nothing_else_is(own: Path) -> None:
    result = overlap_of(own)
    assert (result.num_first, result.num_second) == (4, NUM_COPIES)
    found = {(pair.video, pair.same_as) for pair in result.found.pairs}
    assert found == {
        (
            f"k400/train/source{source:05d}_000000_000010",
            f"ucf101/all/v_altered{label}_g{source + 1:02d}_c01",
        )
        for label in range(len(ALTERED))
        for source in range(NUM_COPIED)
    }
    for pair in result.found.pairs:
        label = int(pair.same_as.partition("altered")[2][0])
        assert ("mirrored" in pair.how) == (ALTERED[label] == "mirrored")
        assert FOUND[ALTERED[label]].begins_later or abs(pair.begins_seconds) <= 0.15
        is_first = pair.same_as.endswith("altered0_g01_c01")
        split = "train" if is_first else "test"
        assert pair.splits.split() == [f"{split}{fold}" for fold in ("01", "02", "03")]


def test_the_other_order_lists_the_videos_of_the_other_data_set(own: Path) -> None:
    forth = overlap_of(own).found.pairs
    back = overlap_of(own, "ucf101", "k400").found.pairs
    assert {(p.same_as, p.video, -p.begins_seconds, p.frames) for p in back} == {
        (p.video, p.same_as, p.begins_seconds, p.frames) for p in forth
    }


def test_a_second_call_makes_only_the_hashes_that_are_missing_damaged_or_of_another_tar(
    own: Path, hashed: list[bytes]
) -> None:
    first = overlap_of(own)
    assert len(hashed) == 4 + NUM_COPIES
    hashed.clear()
    assert overlap_of(own) == first and not hashed
    files = sorted((own / "k400" / "hashes").iterdir())
    assert [file.name for file in files] == ["train-00000.dense.npz", "train-00001.dense.npz"]
    raw = bytearray(files[1].read_bytes())
    raw[len(raw) // 2] ^= 1
    files[1].write_bytes(raw)
    assert overlap_of(own) == first and len(hashed) == 2
    hashed.clear()
    shutil.copy(files[0], files[1])
    assert overlap_of(own) == first and len(hashed) == 2


def test_a_data_set_is_not_compared_with_itself(own: Path) -> None:
    with pytest.raises(UserError, match=r"k400 twice.*kdbatch shard overlap k400 ucf101"):
        overlap_of(own, "k400", "k400")


def test_shards_that_are_missing_are_named_with_the_command_that_makes_them(own: Path) -> None:
    with pytest.raises(UserError, match="hmdb51 has no shards.*kdbatch shard hmdb51"):
        overlap_of(own, "k400", "hmdb51")
    with pytest.raises(UserError, match="Did you mean 'k400'"):
        overlap_of(own, "k40", "ucf101")
    (own / "k400" / "train-00001.tar").unlink()
    with pytest.raises(UserError, match=r"train-00001.tar: is missing.*kdbatch shard verify k400"):
        overlap_of(own)


def test_a_damaged_video_is_named_and_no_hashes_of_it_are_kept(own: Path) -> None:
    subset = find_subset(load_index(own, "k400"), "train", "all", where="test")
    tar, sample = list(load_samples(own, subset))[-1]
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + sample.num_bytes // 2] ^= 1
    tar.write_bytes(raw)
    with pytest.raises(UserError, match=rf"{sample.key}: its checksum is wrong.*shard verify k400"):
        overlap_of(own)
    assert not list((own / "k400" / "hashes").glob(f"{tar.stem}.*"))
