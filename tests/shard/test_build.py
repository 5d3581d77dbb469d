import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.toys import toy_request
from support.wait import wait_until
from webdataset.compat import WebDataset

from kdbatch.base.atomic_write import load_json
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.build import build_shards
from kdbatch.shard.datasets import READERS
from kdbatch.shard.shard_plan import plan_shards
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shards.index import ShardIndex, load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples


def _build(root: Path, shards_dir: Path, **options) -> ShardIndex:
    request = toy_request(**{"videos_per_shard": 5, **options})
    return build_shards(request, root=root, shards_dir=shards_dir, progress=silent)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def built(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 12 training videos of the Kinetics stand-in in shards of 5. Read only."""
    shards_dir = tmp_path_factory.mktemp("built")
    _build(toys / "k400", shards_dir)
    return shards_dir


@pytest.mark.parametrize("name", READERS)
def test_every_layout_is_built_and_its_splits_can_be_loaded(
    toys: Path, tmp_path: Path, name: str
) -> None:
    index = build_shards(toy_request(name), root=toys / name, shards_dir=tmp_path, progress=silent)
    assert load_index(tmp_path, name) == index
    known = DATASETS[name]
    videos = list(
        load_samples(tmp_path, find_subset(index, known.train_split, "all", where="here"))
    )
    listed = [
        source
        for source in READERS[name](toys / name, known.parts[0]).videos
        if known.train_split in source.splits
    ]
    assert {(sample.key, sample.label, sample.group) for _, sample in videos} == {
        (s.key, s.label, s.group) for s in listed
    }
    assert pq.read_table(tmp_path / name / "rejected.parquet").num_rows == 0


def test_building_twice_and_in_two_processes_gives_equal_bytes(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    _build(toys / "k400", tmp_path, processes=2)
    assert _files(tmp_path / "k400") == _files(built / "k400")


def test_a_subset_is_rounded_up_to_whole_shards_and_a_larger_one_only_adds(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    index = _build(toys / "k400", tmp_path, subset="4")
    assert (index.parts["train"].num_places, len(index.parts["train"].shards)) == (5, 1)
    first = tmp_path / "k400" / "train-00000.tar"
    written = first.stat().st_mtime_ns
    _build(toys / "k400", tmp_path, subset="all")
    assert first.stat().st_mtime_ns == written
    assert _files(tmp_path / "k400") == _files(built / "k400")


def test_a_smaller_subset_afterwards_removes_nothing(toys: Path, tmp_path: Path) -> None:
    _build(toys / "k400", tmp_path, subset="10")
    assert _build(toys / "k400", tmp_path, subset="5").parts["train"].num_places == 10


def test_lost_and_half_written_shards_are_made_again_with_equal_bytes(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "k400"
    shutil.copytree(built / "k400", folder)
    (folder / "index.json").unlink()
    (folder / "train-00002.json").unlink()
    (folder / "train-00001.tar").write_bytes(b"cut short")
    _build(toys / "k400", tmp_path)
    assert _files(folder) == _files(built / "k400")


def test_a_killed_build_leaves_complete_shards_and_can_be_continued(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from kdbatch.shard.build import build_shards\n"
        "from kdbatch.vocab.shard_request import ShardRequest\n"
        "request = ShardRequest(dataset='k400', videos_per_shard=5, processes=1)\n"
        "root, shards_dir = map(Path, sys.argv[1:])\n"
        "build_shards(request, root=root, shards_dir=shards_dir, progress=print)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(toys / "k400"), str(tmp_path)], stdout=subprocess.DEVNULL
    )
    wait_until((tmp_path / "k400" / "train-00000.json").exists, timeout=30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "k400" / "index.json").exists()
    # Temporary files of the killed build and of a builder on another node.
    (tmp_path / "k400" / f"train-00000.tar.{socket.gethostname()}.{process.pid}.part").touch()
    elsewhere = tmp_path / "k400" / "train-00002.tar.node.example.17.part"
    elsewhere.touch()
    _build(toys / "k400", tmp_path)
    assert _files(tmp_path / "k400") == {**_files(built / "k400"), elsewhere.name: b""}
    os.utime(elsewhere, (0, 0))
    _build(toys / "k400", tmp_path)
    assert _files(tmp_path / "k400") == _files(built / "k400")


def test_the_temporary_file_of_a_running_builder_of_this_host_is_kept(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built / "k400", tmp_path / "k400")
    part = tmp_path / "k400" / f"train-00001.tar.{socket.gethostname()}.{os.getppid()}.part"
    part.touch()
    _build(toys / "k400", tmp_path)
    assert part.exists()


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset closes no tar
def test_webdataset_reads_the_tars(built: Path) -> None:
    url = str(built / "k400" / "train-00000.tar")
    dataset = WebDataset(url, shardshuffle=False).decode()
    samples = list(dataset)  # pyright: ignore[reportArgumentType] - iterable, but not by its types
    stored = [
        s
        for tar, s in load_samples(
            built, find_subset(load_index(built, "k400"), "train", "5", where="here")
        )
    ]
    assert [sample["__key__"] for sample in samples] == [s.key for s in stored]
    assert [(sample["json"]["label"], len(sample["mp4"])) for sample in samples] == [
        (s.label, s.num_bytes) for s in stored
    ]


def test_records_point_at_the_bytes_of_each_member(built: Path) -> None:
    for tar, sample in load_samples(
        built, find_subset(load_index(built, "k400"), "train", "all", where="here")
    ):
        raw = tar.read_bytes()
        assert raw[sample.offset + 4 : sample.offset + 8] == b"ftyp"
        assert sample.index_bytes == 13 * sample.num_frames + 4
        assert raw[sample.index_offset - 512 :].startswith(f"{sample.key}.idx".encode())


def test_a_prefix_is_read_from_its_own_shards_alone(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "k400", tmp_path / "k400")
    for shard in ("train-00001", "train-00002"):
        (tmp_path / "k400" / f"{shard}.json").unlink()
    prefix = find_subset(load_index(tmp_path, "k400"), "train", "5", where="here")
    assert [sample.place for _, sample in load_samples(tmp_path, prefix)] == [0, 1, 2, 3, 4]


def test_broken_videos_are_skipped_and_listed_with_their_reasons(
    toys: Path, tmp_path: Path
) -> None:
    root = _with_broken(toys, tmp_path)
    index = _build(root, tmp_path / "shards", max_rejected=0.2)
    assert sum(shard.num_rejected for shard in index.parts["train"].shards) == 2
    rows = pq.read_table(tmp_path / "shards" / "k400" / "rejected.parquet").to_pylist()
    assert sorted(row["reason"].split(" (")[0] for row in rows) == [
        "cannot be decoded: Invalid data found when processing input",
        "empty file",
    ]
    assert all((root / row["path"]).exists() for row in rows)


def test_too_many_broken_videos_are_an_error_and_are_listed(toys: Path, tmp_path: Path) -> None:
    root = _with_broken(toys, tmp_path)
    with pytest.raises(
        UserError, match=re.escape("more than 1.00%") + ".*rejected.parquet.*--max-rejected"
    ):
        _build(root, tmp_path / "shards")
    assert (
        pq.read_table(tmp_path / "shards" / "k400" / "rejected.parquet").num_rows == 1
    )  # the build stops at the first one too many
    assert _build(root, tmp_path / "shards", max_rejected=0.2).parts["train"].num_places == 12


def test_repaired_videos_are_stored_as_if_they_had_never_been_broken(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    root = _with_broken(toys, tmp_path)
    _build(root, tmp_path / "shards", max_rejected=0.2)
    folder = tmp_path / "shards" / "k400"
    broken = [row["path"] for row in pq.read_table(folder / "rejected.parquet").to_pylist()]
    for left, path in zip((1, 0), broken, strict=True):
        shutil.copy(toys / "k400" / path, root / path)
        assert (
            sum(
                shard.num_rejected
                for shard in _build(root, tmp_path / "shards", max_rejected=0.2)
                .parts["train"]
                .shards
            )
            == left
        )
    assert _files(folder) == _files(built / "k400")


def test_a_listed_video_that_was_missing_is_stored_once_it_is_there(
    toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys / "ssv2", tmp_path / "ssv2")
    build = partial(
        build_shards,
        toy_request("ssv2", max_rejected=0.5),
        root=tmp_path / "ssv2",
        progress=silent,
    )
    whole = build(shards_dir=tmp_path / "whole")
    video = next(source.path for source in READERS["ssv2"](tmp_path / "ssv2", "train").videos)
    video.rename(tmp_path / "away.webm")
    assert build(shards_dir=tmp_path / "shards").parts["train"].shards[0].num_rejected == 1
    (tmp_path / "away.webm").rename(video)
    assert build(shards_dir=tmp_path / "shards") == whole


def test_a_broken_video_whose_file_changed_is_tried_again_and_nothing_else_is_rewritten(
    toys: Path, tmp_path: Path
) -> None:
    root = _with_broken(toys, tmp_path)
    _build(root, tmp_path / "shards", max_rejected=0.2)
    plan = plan_shards(
        toy_request(videos_per_shard=5, max_rejected=0.2), root=root, shards_dir=tmp_path / "shards"
    )
    before, index = _files(plan.folder), load_json(plan.folder / "index.json")
    assert plan.missing_shards() == ()
    path = pq.read_table(plan.folder / "rejected.parquet").to_pylist()[0]["path"]
    os.utime(root / path, (0, 0))
    (number,) = plan.missing_shards()
    _build(root, tmp_path / "shards", max_rejected=0.2)
    assert plan.missing_shards() == ()
    changed = {name for name, data in _files(plan.folder).items() if data != before[name]}
    assert changed == {f"train-{number:05d}.json", "index.json"}
    shard = index["parts"]["train"]["shards"][number]
    shard["record_sha256"] = sha256_of(plan.folder / f"train-{number:05d}.json")
    assert load_json(plan.folder / "index.json") == index  # nothing from which ids of runs are made


def test_rejected_videos_of_records_without_file_times_are_not_tried_again(
    toys: Path, tmp_path: Path
) -> None:
    root = _with_broken(toys, tmp_path)
    _build(root, tmp_path / "shards", max_rejected=0.2)
    folder = tmp_path / "shards" / "k400"
    for path in folder.glob("train-*.json"):
        record = load_json(path)
        for reject in record["rejected"]:
            del reject["num_bytes"], reject["mtime_ns"]
        path.write_text(json.dumps(record))
    index = load_json(folder / "index.json")
    for shard in index["parts"]["train"]["shards"]:
        del shard["record_sha256"]
    (folder / "index.json").write_text(json.dumps(index))
    plan = plan_shards(
        toy_request(videos_per_shard=5, max_rejected=0.2), root=root, shards_dir=tmp_path / "shards"
    )
    assert plan.missing_shards() == ()


def _with_broken(toys: Path, tmp_path: Path) -> Path:
    root = tmp_path / "k400"
    shutil.copytree(toys / "k400", root)
    videos = sorted((root / "train").rglob("*.mp4"))
    videos[0].write_text("this is no video\n" * 50)
    videos[4].write_bytes(b"")
    return root


def test_a_part_that_is_added_leaves_the_others_in_the_index(toys: Path, tmp_path: Path) -> None:
    _build(toys / "k400", tmp_path, subset="5")
    index = _build(toys / "k400", tmp_path, split="val")
    assert (index.parts["train"].num_places, index.parts["val"].num_places) == (5, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"videos_per_shard": 4},
            "Continue with the same number: kdbatch shard k400 --split train --videos-per-shard 5",
        ),
        ({"subset": "13"}, "13 videos asked for, but there are only 12"),
        ({"split": "test"}, "--split: no 'test'. Known: train, val"),
        ({"videos_per_shard": 0}, "Write 1 to 1,000,000; 250 is usual"),
        *[
            ({"max_rejected": share}, f"found {share:g}. Write 0 to 1.")
            for share in (-1.0, 1.5, math.nan)
        ],
    ],
)
def test_an_impossible_request_is_an_error_with_what_is_possible(
    toys: Path, built: Path, options: dict[str, object], message: str
) -> None:
    before = _files(built / "k400")
    with pytest.raises(UserError, match=re.escape(message)):
        _build(toys / "k400", built, **options)
    assert _files(built / "k400") == before


def test_videos_that_were_added_since_are_an_error(toys: Path, built: Path, tmp_path: Path) -> None:
    root = tmp_path / "k400"
    shutil.copytree(toys / "k400", root)
    video = next((root / "train").rglob("*.mp4"))
    shutil.copy(video, video.with_name("aaaaaaaaaaa_000001_000011.mp4"))
    shutil.copytree(built / "k400", tmp_path / "shards" / "k400")
    with pytest.raises(UserError, match="videos were added or removed.*rm -r"):
        _build(root, tmp_path / "shards")
