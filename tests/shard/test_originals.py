import json
from pathlib import Path

import pytest
from support.toys import toy_request
from support.videos import bar_positions, rotate_video, write_video

from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.build import build_from_plan, build_shards
from kdbatch.shard.originals import store_original
from kdbatch.shard.shard_plan import ShardPlan, plan_shards
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples

try:
    import decord
except ImportError:  # it has no wheel for aarch64
    decord = None

needs_decord = pytest.mark.skipif(decord is None, reason="decord is not installed")


def test_an_original_is_stored_byte_for_byte_with_its_frames_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", width=200, height=150)
    stored = store_original(path)
    assert stored.video == path.read_bytes()
    assert (stored.container, stored.num_frames, stored.width, stored.height, stored.fps) == (
        "mp4",
        35,
        200,
        150,
        25.0,
    )
    assert (stored.index, stored.extradata) == (b"", b"")


@needs_decord
def test_a_rotated_original_has_the_size_that_decord_shows(tmp_path: Path) -> None:
    path = rotate_video(
        write_video(tmp_path / "a.mp4", width=160, height=128), tmp_path / "turned.mp4"
    )
    stored = store_original(path)
    assert decord is not None
    assert (
        decord.VideoReader(str(path))[0].shape == (stored.height, stored.width, 3) == (160, 128, 3)
    )


@pytest.mark.parametrize(
    ("codec", "options", "reason"),
    [
        ("libx264", {"preset": "ultrafast"}, "H.264 in AVI"),
        ("mpeg4", {"bf": "1"}, "AVI with B-frames"),
    ],
)
def test_a_video_that_decord_cannot_address_by_frame_is_refused_with_the_reason(
    tmp_path: Path, codec: str, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(BrokenVideo, match=f"is (an )?{reason}.*must be transcoded"):
        store_original(write_video(tmp_path / "a.avi", codec=codec, options=options))


@needs_decord
def test_decord_finds_each_frame_of_a_stored_avi(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", options={"g": "12"})
    assert store_original(path).num_frames == 35
    wanted = [31, 2, 17, 30, 0]
    assert decord is not None
    assert bar_positions(list(decord.VideoReader(str(path)).get_batch(wanted).asnumpy())) == wanted


def test_originals_of_hmdb51_are_never_stored(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match="hmdb51: --no-transcode is not possible: .*packed B-frames.*Leave --no-transcode out",
    ):
        plan_shards(
            toy_request("hmdb51", transcode=False), root=toys / "hmdb51", shards_dir=tmp_path
        )


@pytest.mark.parametrize(("name", "suffix"), [("k400", "mp4"), ("ssv2", "webm"), ("ucf101", "avi")])
def test_shards_of_originals_hold_the_original_bytes_and_can_be_verified(
    toys: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    index = build_shards(
        toy_request(name, transcode=False), root=toys / name, shards_dir=tmp_path, progress=silent
    )
    part = next(iter(index.parts))
    split = {"all": "train01"}.get(part, part)
    originals = {path.read_bytes() for path in (toys / name).rglob(f"*.{suffix}")}
    for tar, sample in load_samples(tmp_path, find_subset(index, split, "all", where="here")):
        assert (sample.container, sample.extradata, sample.index_bytes) == (suffix, "", 0)
        assert tar.read_bytes()[sample.offset : sample.offset + sample.num_bytes] in originals
    assert verify_shards(name, shards_dir=tmp_path, progress=silent) == sum(
        shard.num_videos for shard in index.parts[part].shards
    )


def test_transcoded_shards_and_originals_are_not_mixed(toys: Path, tmp_path: Path) -> None:
    build_shards(toy_request(split="val"), root=toys / "k400", shards_dir=tmp_path, progress=silent)
    with pytest.raises(
        UserError,
        match="stored as 'h264 .*', not as 'originals v1'. Make all of its shards again: rm -r",
    ):
        build_shards(
            toy_request(transcode=False), root=toys / "k400", shards_dir=tmp_path, progress=silent
        )
    assert load_index(tmp_path, "k400").parts.keys() == {"val"}


def test_an_interrupted_build_can_only_be_continued_with_its_encoding(
    toys: Path, tmp_path: Path
) -> None:
    def plan(*, transcode: bool = True) -> ShardPlan:
        request = toy_request(videos_per_shard=5, transcode=transcode)
        return plan_shards(request, root=toys / "k400", shards_dir=tmp_path)

    build_from_plan(plan(), shards=range(0, 1), progress=silent)
    with pytest.raises(
        UserError,
        match="stored as 'h264 .*', not as 'originals v1'. Make all of its shards again: rm -r",
    ):
        build_from_plan(plan(transcode=False), progress=silent)
    record = load_json(tmp_path / "k400" / "train-00000.json")
    del record["encoding"]  # as in older records
    (tmp_path / "k400" / "train-00000.json").write_text(json.dumps(record))
    assert plan().missing_shards() == (1, 2)


def test_parts_that_are_built_at_the_same_time_are_not_mixed_either(
    toys: Path, tmp_path: Path
) -> None:
    train, val = (
        plan_shards(request, root=toys / "k400", shards_dir=tmp_path)
        for request in (toy_request(), toy_request(split="val", transcode=False))
    )
    build_from_plan(val, progress=silent)
    with pytest.raises(UserError, match="stored as 'originals v1', not as 'h264 .*'"):
        build_from_plan(train, progress=silent)
    assert load_index(tmp_path, "k400").parts.keys() == {"val"}
