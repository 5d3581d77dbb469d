"""`kdbatch shard verify`: checks that shards hold what was written and that all videos decode."""

import os
import tarfile
import zlib
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import BinaryIO

from kdbatch.base.command_lines import shell_line
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import FORBIDDEN_ERRORS, UnreadableError, UserError
from kdbatch.base.parse import parse
from kdbatch.base.progress import Progress
from kdbatch.base.reading.documents import parse_json_object
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.source_video import HOST_ERRNOS
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import count_frames
from kdbatch.vocab.shards.index import Sample, Shard, ShardIndex, load_index, load_indexed_record
from kdbatch.vocab.shards.subset import request_like


def verify_shards(dataset: str, *, shards_dir: Path, progress: Progress, processes: int = 1) -> int:
    """Check the sha256 of every tar and the crc32 of every video, and decode every video.

    Returns the number of videos.

    Raises:
        UserError: shards are damaged or missing; names them and the command that makes them again.
    """
    index = load_index(shards_dir, dataset)
    folder = shards_dir / dataset
    shards = [shard for part in index.parts.values() for shard in part.shards]
    results = map_parallel(partial(_shard_damage, folder), shards, processes=processes)
    damage: dict[str, str] = {}
    for num_done, (shard, reason) in enumerate(zip(shards, results, strict=True), 1):
        progress(num_done, len(shards), shard.name)
        if reason:
            damage[shard.name] = reason
    if damage:
        examples = "; ".join(f"{name}: {reason}" for name, reason in list(damage.items())[:3])
        raise UserError(
            f"{folder}: {len(damage)} of {len(shards)} shards are damaged: {examples}. "
            f"Make them again: {_repair_commands(index, folder, damage)}"
        )
    return sum(shard.num_videos for shard in shards)


def _repair_commands(index: ShardIndex, folder: Path, damaged: Collection[str]) -> str:
    """The commands that make the damaged shards again, and no shard that did not exist."""
    commands = [shell_line("rm", "-f", *(folder / name for name in damaged))]
    for name, part in index.parts.items():
        if any(shard.name in damaged for shard in part.shards):
            commands.append(request_like(index, name, subset=part.num_places).command)
    return " && ".join(commands)


def _shard_damage(folder: Path, shard: Shard) -> str:
    """The damage of a shard, or an empty string. Runs in the worker processes.

    Raises:
        UserError: an error of the machine, which proves no damage.
    """
    try:
        return _find_damage(folder, shard)
    except OSError as error:
        if error.errno in HOST_ERRNOS | FORBIDDEN_ERRORS:
            raise UserError(
                f"{folder}/{shard.name}: cannot be checked ({error.strerror}). "
                "Repair that and repeat the command."
            ) from error
        return f"cannot be read ({error.strerror})"


def _find_damage(folder: Path, shard: Shard) -> str:
    tar = folder / shard.name
    record_file = folder / shard.record_name
    if not tar.exists() or not record_file.exists():
        return "missing"
    with tar.open("rb") as file:
        if file.seek(0, os.SEEK_END) != shard.num_bytes:
            return "of another size than its record has"
    try:
        record = load_indexed_record(folder, shard)
    except UnreadableError:
        raise
    except UserError:
        return f"its record {shard.record_name} was changed or damaged"
    if len(record.samples) != shard.num_videos or record.sha256 != shard.sha256:
        return "its record is not the one of index.json"
    for sample in record.samples:
        if damage := _video_damage(tar, sample):
            return f"{sample.key}: {damage}"
    return "" if sha256_of(tar) == shard.sha256 else "its sha256 is not the one of index.json"


def _video_damage(tar: Path, sample: Sample) -> str:
    with tar.open("rb") as file:
        file.seek(sample.offset)
        video = file.read(sample.num_bytes)
        facts = _facts_in_tar(file, sample)
    if zlib.crc32(video) != sample.crc32:
        return "its checksum is wrong"
    try:
        num_frames = count_frames(video)
    except BrokenVideo as error:
        return str(error)
    if num_frames != sample.num_frames:
        return f"{num_frames} frames decode, {sample.num_frames} were stored"
    if facts != sample:
        return f"the record {tar.with_suffix('.json').name} has other facts than the tar"
    return ""


def _facts_in_tar(file: BinaryIO, sample: Sample) -> Sample | None:
    """The facts in KEY.json, which follows the video and its packet index in the tar; None where
    they are damaged.

    An index of version 0.2 or older does not vouch for the records.
    """
    end = max(sample.offset + sample.num_bytes, sample.index_offset + sample.index_bytes)
    file.seek(-(-end // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
    try:
        header = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "strict")
        facts = parse_json_object(file.read(header.size), where=header.name)
        return parse(
            Sample, {name: facts[name] for name in vars(sample) if name in facts}, where=header.name
        )
    except (tarfile.HeaderError, ValueError, TypeError, UserError):
        return None
