import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from support.toys import toy_request

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError, unreadable
from kdbatch.base.progress import silent
from kdbatch.shard.build import build_shards
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples


@pytest.fixture(scope="module")
def built(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shards_dir = tmp_path_factory.mktemp("verified")
    build_shards(
        toy_request("ssv2", videos_per_shard=2),
        root=toys / "ssv2",
        shards_dir=shards_dir,
        progress=silent,
    )
    return shards_dir


def test_the_videos_of_undamaged_shards_are_counted(built: Path) -> None:
    assert verify_shards("ssv2", shards_dir=built, progress=silent) == 4


def test_one_wrong_byte_is_found_and_the_printed_commands_repair_it(
    toys: Path, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built / "ssv2", tmp_path / "ssv2")
    index = load_index(tmp_path, "ssv2")
    tar, sample = list(load_samples(tmp_path, find_subset(index, "train", "all", where="here")))[-1]
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + sample.num_bytes // 2] ^= 1
    tar.write_bytes(raw)
    with pytest.raises(
        UserError,
        match="1 of 2 shards are damaged.*its checksum is wrong"
        ".*--split train --subset 4 --videos-per-shard 2",
    ) as caught:
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)
    assert f"rm -f {tar}" in str(caught.value)
    tar.unlink()
    build_shards(
        toy_request("ssv2", videos_per_shard=2),
        root=toys / "ssv2",
        shards_dir=tmp_path,
        progress=silent,
    )
    assert verify_shards("ssv2", shards_dir=tmp_path, progress=silent) == 4


def test_a_wrong_byte_outside_the_videos_is_found_too(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "ssv2", tmp_path / "ssv2")
    tar = tmp_path / "ssv2" / "train-00000.tar"
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="its sha256 is not the one of index.json"):
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)


def test_a_missing_tar_is_found(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "ssv2", tmp_path / "ssv2")
    (tmp_path / "ssv2" / "train-00001.tar").unlink()
    with pytest.raises(UserError, match="train-00001.tar: missing"):
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)


def test_a_tar_that_cannot_be_read_is_damage(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built / "ssv2", tmp_path / "ssv2")
    tar = tmp_path / "ssv2" / "train-00001.tar"
    tar.unlink()
    tar.mkdir()
    with pytest.raises(
        UserError,
        match=r"1 of 2 shards are damaged: train-00001.tar: cannot be read \(Is a directory\)",
    ):
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)


def copied(built: Path, to: Path) -> Path:
    """The record of the second shard in a copy of the shards."""
    shutil.copytree(built / "ssv2", to / "ssv2")
    return to / "ssv2" / "train-00001.json"


def with_another_label(record: Path, *, sealed: bool) -> None:
    raw = load_json(record)
    raw["samples"][0]["label"] += 1
    write_json(record, raw) if sealed else record.write_text(json.dumps(raw))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_label_changed_in_a_record_is_damage_and_repaired(
    built: Path, tmp_path: Path, toys: Path, *, sealed: bool
) -> None:
    record = copied(built, tmp_path)
    before = record.read_bytes()
    with_another_label(record, sealed=sealed)
    reason = r"train-00001\.tar: its record train-00001\.json was changed or damaged\. Make"
    with pytest.raises(UserError, match=reason):
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)
    record.with_suffix(".tar").unlink()  # as the message says
    build_shards(
        toy_request("ssv2", videos_per_shard=2),
        root=toys / "ssv2",
        shards_dir=tmp_path,
        progress=silent,
    )
    assert record.read_bytes() == before
    assert verify_shards("ssv2", shards_dir=tmp_path, progress=silent) == 4


def test_no_run_reads_a_changed_record(built: Path, tmp_path: Path) -> None:
    record = copied(built, tmp_path)
    subset = find_subset(load_index(tmp_path, "ssv2"), "train", "all", where="test")
    with_another_label(record, sealed=True)
    with pytest.raises(UserError, match=r"00001\.json: was changed.*kdbatch shard verify ssv2$"):
        list(load_samples(tmp_path, subset))


def test_a_label_changed_in_shards_of_an_older_version_is_damage(
    built: Path, tmp_path: Path
) -> None:
    record = copied(built, tmp_path)
    path = record.with_name("index.json")
    index = load_json(path)
    for shard in index["parts"]["train"]["shards"]:
        del shard["record_sha256"]
    path.write_text(json.dumps(index))
    record.write_text(json.dumps(load_json(record)))
    assert verify_shards("ssv2", shards_dir=tmp_path, progress=silent) == 4
    with_another_label(record, sealed=False)
    with pytest.raises(UserError, match=r"train-00001\.json has other facts than the tar"):
        verify_shards("ssv2", shards_dir=tmp_path, progress=silent)


@pytest.mark.parametrize("name", ["load_indexed_record", "count_frames"])
def test_a_missing_permission_is_not_reported_as_damage(
    built: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def forbidden(*_: object) -> None:
        error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise unreadable(Path("x.json"), error) if name == "load_indexed_record" else error

    monkeypatch.setattr(f"kdbatch.shard.verify.{name}", forbidden)
    with pytest.raises(UserError, match=r"\(Permission denied\)") as found:
        verify_shards("ssv2", shards_dir=built, progress=silent)
    assert "rm -f" not in str(found.value)


def test_a_file_server_that_does_not_answer_is_not_reported_as_damage(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(path: Path) -> str:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    monkeypatch.setattr("kdbatch.shard.verify.sha256_of", no_answer)
    with pytest.raises(
        UserError,
        match=r"train-00000.tar: cannot be checked \(Connection timed out\)\. Repair that",
    ):
        verify_shards("ssv2", shards_dir=built, progress=silent)
