"""The hashes of a shard's videos, in `hashes/` next to the shards.

A file has the sha256 of its tar inside, and is made again where that or the method is another one.
"""

import zipfile
import zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.command_lines import verify_command
from kdbatch.base.errors import UserError
from kdbatch.shard.overlap.frame_hash import HASH_VERSION, VIEWS, hash_frames
from kdbatch.shard.overlap.read_frames import read_frames
from kdbatch.shard.stored import BrokenVideo
from kdbatch.vocab.shards.index import Sample, Shard, load_indexed_record


@dataclass(frozen=True, kw_only=True)
class HashJob:
    """One shard whose videos are to be hashed."""

    folder: Path
    part: str
    shard: Shard = field(hash=False)  # which has dictionaries; jobs are keys of caches
    is_dense: bool
    is_original: bool

    @property
    def path(self) -> Path:
        density = "dense" if self.is_dense else "sparse"
        return self.folder / "hashes" / f"{Path(self.shard.name).stem}.{density}.npz"

    @property
    def title(self) -> str:
        return f"{self.folder.name}/{self.shard.name}"

    @property
    def made_from(self) -> str:
        """The text that says which tar and which method the hashes come from."""
        return f"{HASH_VERSION} {self.shard.sha256}"


@dataclass(frozen=True, kw_only=True)
class VideoHashes:
    """The hashes of the videos of a shard, one after the other.

    Video i has the frames `first_frame[i]` to `first_frame[i + 1]` of `seconds` (T), `words`
    (T, V, 4) and `has_contrast` (T).
    """

    first_frame: np.ndarray
    seconds: np.ndarray
    words: np.ndarray
    has_contrast: np.ndarray

    def frames_of(self, video: int) -> slice:
        return slice(int(self.first_frame[video]), int(self.first_frame[video + 1]))


def make_hashes(job: HashJob) -> int:
    """Write the hashes of a shard, unless they are there. Returns the number of its videos.

    Raises:
        UserError: the shard or its record is missing or damaged.
        OSError: the folder cannot be written.
    """
    if load_hashes(job) is None:
        samples = load_indexed_record(job.folder, job.shard).samples
        hashes = _hash_videos(job, samples)
        atomic_write(job.path, partial(_write, job=job, hashes=hashes))
    return job.shard.num_videos


def load_hashes(job: HashJob) -> VideoHashes | None:
    """The hashes of a shard; None where they are missing, damaged, or of another tar."""
    try:
        with np.load(job.path, allow_pickle=False) as file:  # compares a crc32 per array
            if str(file["made_from"]) != job.made_from:
                return None
            return VideoHashes(
                first_frame=file["first_frame"],
                seconds=file["seconds"],
                words=file["words"],
                has_contrast=file["has_contrast"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _write(path: Path, *, job: HashJob, hashes: VideoHashes) -> None:
    with path.open("wb") as file:
        np.savez(file, made_from=np.array(job.made_from), **vars(hashes))


def _hash_videos(job: HashJob, samples: tuple[Sample, ...]) -> VideoHashes:
    all_seconds, all_words, all_contrast, counts = [], [], [], [0]
    for sample in samples:
        video = _checked_video(job, sample)
        try:
            luma_THW, seconds = read_frames(
                video, is_dense=job.is_dense, fps=sample.fps, is_original=job.is_original
            )
        except BrokenVideo as error:
            raise _damage(job, f"{sample.key}: {error}") from error
        words, has_contrast = hash_frames(luma_THW)
        all_seconds.append(seconds)
        all_words.append(words)
        all_contrast.append(has_contrast)
        counts.append(len(words))
    return VideoHashes(
        first_frame=np.cumsum(counts),
        seconds=np.concatenate([np.empty(0, np.float32), *all_seconds]),
        words=np.concatenate([np.empty((0, len(VIEWS), 4), np.uint64), *all_words]),
        has_contrast=np.concatenate([np.empty(0, bool), *all_contrast]),
    )


def _checked_video(job: HashJob, sample: Sample) -> bytes:
    try:
        with (job.folder / job.shard.name).open("rb") as file:
            file.seek(sample.offset)
            video = file.read(sample.num_bytes)
    except FileNotFoundError as error:
        raise _damage(job, "is missing") from error
    if zlib.crc32(video) != sample.crc32:
        raise _damage(job, f"{sample.key}: its checksum is wrong")
    return video


def _damage(job: HashJob, reason: str) -> UserError:
    tar = job.folder / job.shard.name
    return UserError(f"{tar}: {reason}. See how to repair it: {verify_command(job.folder.name)}")
