"""Writes one shard: a tar of videos and its record, both pure functions of the videos."""

import dataclasses
import json
import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdbatch.base.atomic_write import atomic_write, load_json, remove_abandoned_parts, write_json
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.folders.presence import is_present
from kdbatch.base.parse import parse
from kdbatch.shard.sources import ListedVideo
from kdbatch.shard.stored import EncodedVideo
from kdbatch.vocab.shards.index import Reject, Sample, ShardRecord

if TYPE_CHECKING:
    from webdataset.writer import TarWriter


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A video on its way into a shard, or into the list of rejected videos.

    `path` is relative to the data set's root.
    """

    video: ListedVideo
    position: int
    path: str
    class_name: str
    outcome: EncodedVideo | Reject


def write_shard(folder: Path, name: str, entries: Iterable[Entry], *, encoding: str) -> ShardRecord:
    """Write the tar, then its record: a tar without a record is unfinished."""
    path = folder / name
    remove_abandoned_parts(folder, f"{name}.*")
    samples: list[Sample] = []
    rejected: list[Reject] = []
    atomic_write(path, lambda part: _write_tar(part, entries, samples=samples, rejected=rejected))
    record = ShardRecord(
        name=name,
        num_bytes=path.stat().st_size,
        sha256=sha256_of(path),
        samples=tuple(samples),
        rejected=tuple(rejected),
        encoding=encoding,
    )
    write_json(record_path(path), dataclasses.asdict(record))
    return record


def load_record(folder: Path, name: str) -> ShardRecord | None:
    """The record of a complete shard, or None where the shard has yet to be made."""
    path = folder / name
    if not is_present(record_path(path)) or not is_present(path):
        return None
    record = parse(ShardRecord, load_json(record_path(path)), where=str(record_path(path)))
    return record if path.stat().st_size == record.num_bytes else None


def record_path(path: Path) -> Path:
    """The record of the tar `path`."""
    return path.with_suffix(".json")


def _write_tar(
    path: Path, entries: Iterable[Entry], *, samples: list[Sample], rejected: list[Reject]
) -> None:
    # Imported here: webdataset imports torch, which takes 2 seconds and half a gigabyte. The worker
    # processes, which also import this module, and a login node do without both.
    from webdataset.writer import TarWriter  # noqa: PLC0415

    with (
        path.open("wb") as file,
        TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False) as tar,
    ):
        for entry in entries:
            if isinstance(entry.outcome, Reject):
                rejected.append(entry.outcome)
            else:
                samples.append(_add_video(tar, entry, entry.outcome))


def _add_video(tar: "TarWriter", entry: Entry, encoded: EncodedVideo) -> Sample:
    """Add KEY.mp4, KEY.idx and KEY.json, in this order; of an original KEY.SUFFIX and KEY.json.

    The JSON member holds the offset of the video and therefore comes after it. One call of
    `TarWriter.write` would sort the members by name, so each has its own call; readers group by
    key.
    """
    video = entry.video
    offset = _add_member(tar, video.key, encoded.container, encoded.video)
    index_offset = _add_member(tar, video.key, "idx", encoded.index) if encoded.index else 0
    sample = Sample(
        key=video.key,
        place=entry.position,
        label=video.label,
        splits=video.splits,
        group=video.group,
        num_frames=encoded.num_frames,
        fps=encoded.fps,
        source_fps=encoded.source_fps,
        width=encoded.width,
        height=encoded.height,
        offset=offset,
        num_bytes=len(encoded.video),
        index_offset=index_offset,
        index_bytes=len(encoded.index),
        crc32=zlib.crc32(encoded.video),
        extradata=encoded.extradata.hex(),
        container=encoded.container,
    )
    facts = {**dataclasses.asdict(sample), "class": entry.class_name, "source": entry.path}
    _add_member(tar, video.key, "json", json.dumps(facts, sort_keys=True).encode())
    return sample


def _add_member(tar: "TarWriter", key: str, suffix: str, data: bytes) -> int:
    """Add KEY.SUFFIX; return the offset of its data in the tar.

    A header is one block, because names are ASCII and shorter than 100 bytes.
    """
    offset = tar.tarstream.offset + tarfile.BLOCKSIZE
    tar.write({"__key__": key, suffix: data})
    return offset
