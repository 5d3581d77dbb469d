"""`kdbatch shard verify`: are the shards what was written, and does every video in them decode?"""

import shlex
import zlib
from collections.abc import Collection
from functools import partial
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.source_video import HOST_ERRNOS
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.tars import file_sha256, load_record
from kdbatch.shard.transcode import count_frames
from kdbatch.vocab.shards import Sample, Shard, ShardIndex, load_index, request_like


def verify_shards(dataset: str, *, shards_dir: Path, progress: Progress, processes: int = 1) -> int:
    """Check the sha256 of every tar, the crc32 of every video, and decode every video; returns how
    many videos were checked.

    Raises:
        UserError: something is damaged or missing; names the tars and the command that makes them
        again.
    """
    index = load_index(shards_dir, dataset)
    folder = shards_dir / dataset
    shards = [shard for part in index.parts.values() for shard in part.shards]
    damage: dict[str, str] = {}
    for done, (shard, found) in enumerate(
        zip(
            shards,
            map_parallel(partial(_shard_damage, folder), shards, processes=processes),
            strict=True,
        ),
        1,
    ):
        progress(done, len(shards), shard.name)
        if found:
            damage[shard.name] = found
    if damage:
        told = "; ".join(f"{name}: {found}" for name, found in list(damage.items())[:3])
        raise UserError(
            f"{folder}: {len(damage)} of {len(shards)} shards are damaged: {told}. Make them again: {_repair_commands(index, folder, damage)}"
        )
    return sum(shard.num_videos for shard in shards)


def _repair_commands(index: ShardIndex, folder: Path, damage: Collection[str]) -> str:
    """The commands that make damaged shards again, and nothing beyond what was sharded."""
    commands = [shlex.join(["rm", "-f", *(str(folder / name) for name in damage)])]
    for name, part in index.parts.items():
        if any(shard.name in damage for shard in part.shards):
            commands.append(request_like(index, name, subset=part.num_places).command)
    return " && ".join(commands)


def _shard_damage(folder: Path, shard: Shard) -> str:
    """What is wrong with a shard, or nothing. Runs in the worker processes.

    Raises:
        UserError: the machine's trouble, of which the shard knows nothing.
    """
    try:
        return _find_damage(folder, shard)
    except OSError as error:
        if error.errno in HOST_ERRNOS:
            raise UserError(
                f"{folder}/{shard.name}: cannot be checked ({error.strerror}). Mend that and repeat the command."
            ) from error
        return f"cannot be read ({error.strerror})"


def _find_damage(folder: Path, shard: Shard) -> str:
    record = load_record(folder, shard.name)
    if record is None:
        return "missing, or of another size than its record says"
    if len(record.samples) != shard.num_videos or record.sha256 != shard.sha256:
        return "its record is not the one of index.json"
    tar = folder / shard.name
    for sample in record.samples:
        found = _video_damage(tar, sample)
        if found:
            return f"{sample.key}: {found}"
    return "" if file_sha256(tar) == shard.sha256 else "its sha256 is not the one of index.json"


def _video_damage(tar: Path, sample: Sample) -> str:
    with tar.open("rb") as file:
        file.seek(sample.offset)
        mp4 = file.read(sample.num_bytes)
    if zlib.crc32(mp4) != sample.crc32:
        return "its checksum is wrong"
    try:
        num_frames = count_frames(mp4)
    except BrokenVideo as error:
        return str(error)
    return (
        ""
        if num_frames == sample.num_frames
        else f"{num_frames} frames decode, {sample.num_frames} were stored"
    )
