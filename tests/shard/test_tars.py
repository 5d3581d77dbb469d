import io
import tarfile
from pathlib import Path

import pytest
from webdataset.writer import TarWriter

from kdbatch.base.errors import UserError
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.shard.sources import make_video
from kdbatch.shard.stored import EncodedVideo
from kdbatch.shard.tars import Entry, write_shard
from kdbatch.shard.transcode import transcode
from kdbatch.vocab.shards.index import ShardRecord


def _entries(toys: Path) -> list[Entry]:
    paths = sorted((toys / "k400" / "train").rglob("*.mp4"))[:2]
    return [
        Entry(
            video=make_video(path, position, splits=("train",), part="train", group="g"),
            position=position,
            path=path.name,
            class_name=path.parent.name,
            outcome=transcode(path),
        )
        for position, path in enumerate(paths)
    ]


def _write_by_tarfile(path: Path, written: Path, record: ShardRecord) -> None:
    """Write the members of a shard as versions before webdataset's writer did, by tarfile alone."""
    raw = written.read_bytes()
    with (
        path.open("wb") as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        tarfile.open(written) as source,
    ):
        for member in source:
            info = tarfile.TarInfo(member.name)
            info.size, info.mode = member.size, 0o644
            data = raw[member.offset_data : member.offset_data + member.size]
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def entries(toys: Path) -> list[Entry]:
    return _entries(toys)


def test_a_shard_is_written_by_the_writer_of_webdataset(
    entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members: list[str] = []
    write = TarWriter.write

    def counted(self: TarWriter, obj: dict[str, bytes]) -> int:
        members.extend(f"{obj['__key__']}.{name}" for name in obj if name != "__key__")
        return write(self, obj)

    monkeypatch.setattr(TarWriter, "write", counted)
    write_shard(tmp_path, "train-00000.tar", entries, encoding="e")
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        assert members == tar.getnames()
    assert [name.rpartition(".")[2] for name in members] == ["mp4", "idx", "json"] * 2


def test_a_shard_has_the_bytes_that_versions_without_webdataset_wrote(
    entries: list[Entry], tmp_path: Path
) -> None:
    record = write_shard(tmp_path, "train-00000.tar", entries, encoding="e")
    _write_by_tarfile(tmp_path / "old.tar", tmp_path / record.name, record)
    assert (tmp_path / "old.tar").read_bytes() == (tmp_path / record.name).read_bytes()
    for sample in record.samples:
        old, new = (
            decode_frames(tmp_path / name, sample, [0, 5, 2], decoder="pyav")
            for name in ("old.tar", record.name)
        )
        assert (old == new).all() and old.any()


def test_no_member_has_a_time_or_an_owner(entries: list[Entry], tmp_path: Path) -> None:
    write_shard(tmp_path, "train-00000.tar", entries, encoding="e")
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        facts = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar}
    assert facts == {(0, 0, 0, "", "", 0o644)}


def test_an_error_of_a_video_leaves_neither_a_tar_nor_a_record(
    entries: list[Entry], tmp_path: Path
) -> None:
    def failing():
        yield entries[0]
        raise UserError("too many are broken")

    with pytest.raises(UserError, match="too many"):
        write_shard(tmp_path, "train-00000.tar", failing(), encoding="e")
    assert list(tmp_path.iterdir()) == []


def test_the_offsets_of_a_record_are_those_of_the_members(
    entries: list[Entry], tmp_path: Path
) -> None:
    record = write_shard(tmp_path, "train-00000.tar", entries, encoding="e")
    raw = (tmp_path / record.name).read_bytes()
    for entry, sample in zip(entries, record.samples, strict=True):
        assert isinstance(entry.outcome, EncodedVideo)
        assert raw[sample.offset :].startswith(entry.outcome.video)
        assert raw[sample.index_offset :].startswith(entry.outcome.index)
