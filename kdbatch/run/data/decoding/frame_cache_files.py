"""What lies in the folder of a frame cache.

KEY-DIGEST.yuv       crc32 of every frame, zeros up to a whole page, then the frames in I420; what
is under this name is whole KEY-DIGEST.yuv.part  being written, and locked (flock) by its writer:
one without a lock was left by a dead writer ledger               how many bytes are taken; its lock
guards the number and the making of parts TOKEN.said           a run has told its reader that it
cannot use the cache

The folder is the user's: what has any other name is theirs, and stays.
"""

import fcntl
import hashlib
import os
import re
import secrets
import time
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from kdbatch.run.data.decoding.yuv import decode_to_yuv
from kdbatch.vocab.shards import Sample

FORMAT = "i420 crc32 v1"
PAGE_BYTES = 4096
UNREAD_SECONDS = 24 * 3600  # what nobody has read for so long makes room for others


def cache_file_name(sample: Sample) -> str:
    """Names the content, so that nothing can be out of date, and data sets and runs that share a
    video share its file.
    """
    content = (
        FORMAT,
        sample.key,
        sample.crc32,
        sample.num_bytes,
        sample.num_frames,
        sample.width,
        sample.height,
    )
    return f"{sample.key}-{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}.yuv"


def new_token() -> str:
    return secrets.token_hex(4)


_OWN_NAMES = re.compile(
    r"[a-z0-9_-]+-[0-9a-f]{16}\.yuv(\.part)?|[0-9a-f]{8}\.said"
)  # names as the two functions above make them


def header_bytes(sample: Sample) -> int:
    return -(-4 * sample.num_frames // PAGE_BYTES) * PAGE_BYTES


def cache_file_bytes(sample: Sample) -> int:
    return header_bytes(sample) + sample.num_frames * sample.width * sample.height * 3 // 2


def write_frames(file: int, tar: Path, sample: Sample) -> None:
    """Decode a stored video into an open file that has room for it.

    Raises:
        DamagedVideoError: the tar is missing or damaged at this video.
        OSError: the file takes no more.
    """
    crc_F = np.zeros(sample.num_frames, np.uint32)
    with os.fdopen(file, "r+b", closefd=False) as out:
        out.seek(header_bytes(sample))
        for place, frame_IW in enumerate(decode_to_yuv(tar, sample)):
            crc_F[place] = zlib.crc32(frame_IW.data)
            out.write(frame_IW.data)
        out.seek(0)
        out.write(crc_F.tobytes())


def remove_stale_files(folder: Path) -> int:
    """Remove what dead writers left and what nobody reads any more. Returns the bytes of all that
    stays. The ledger must be held.
    """
    size_of, now = dict[str, int](), time.time()
    for ending in (
        ".part",
        ".yuv",
        ".said",
    ):  # parts first: one that is published meanwhile is then found under its other name
        for path in folder.glob(f"*{ending}"):
            if not _OWN_NAMES.fullmatch(path.name):
                continue
            with suppress(FileNotFoundError):  # published, given up or removed since it was listed
                about = path.stat()
                if (
                    _is_abandoned(path)
                    if ending == ".part"
                    else now - about.st_mtime > UNREAD_SECONDS
                ):
                    path.unlink()
                else:
                    size_of[path.name.removesuffix(".part")] = about.st_size
    return sum(size_of.values())


def try_lock(file: int) -> bool:
    """Take a file's lock, if nobody has it. The kernel lets go of it when the process ends, however
    it ends.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(file: int, path: Path) -> bool:
    """The open file is still the one that `path` names."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _is_abandoned(part: Path) -> bool:
    file = os.open(part, os.O_RDWR)
    try:
        return try_lock(file)
    finally:
        os.close(file)
