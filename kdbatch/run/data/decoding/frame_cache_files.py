"""The files in the folder of a frame cache: their names, format, locks and removal.

- `KEY-DIGEST.yuv`: crc32 of every frame, zeros up to a whole page, then the frames in I420. A file
  with this name is complete.
- `KEY-DIGEST.yuv.part`: being written, and locked (flock) by its writer. A part that is not locked
  was abandoned by a dead writer.
- `ledger`: the number of bytes taken. Its lock guards the number and the creation of parts.
- `TOKEN.said`: the run with this token has logged that it cannot use the cache.

The folder belongs to one user, who alone can use it: a file of it that is a link, or another
user's, is not used. Files with other names are never touched.
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

from kdbatch.base.temporary.private_folder import ForeignFileError, open_own_file
from kdbatch.run.data.decoding.yuv import decode_to_yuv
from kdbatch.vocab.shards.index import Sample

FORMAT = "i420 crc32 v1"
PAGE_BYTES = 4096
UNREAD_SECONDS = 24 * 3600  # files that have not been read for so long are removed
# Names of the files above, other than the ledger.
_OWN_NAMES = re.compile(r"[a-z0-9_-]+-[0-9a-f]{16}\.yuv(\.part)?|[0-9a-f]{8}\.said")


def cache_file_name(sample: Sample) -> str:
    """The name of a video's file, made from its content: a file is never out of date, and data sets
    and runs that have a video in common share its file.
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


def header_bytes(sample: Sample) -> int:
    return -(-4 * sample.num_frames // PAGE_BYTES) * PAGE_BYTES


def cache_file_bytes(sample: Sample) -> int:
    return header_bytes(sample) + sample.num_frames * sample.width * sample.height * 3 // 2


def write_frames(file: int, tar: Path, sample: Sample) -> None:
    """Decode a stored video into an open file that has room for it.

    Raises:
        DamagedVideoError: the tar is missing or damaged at this video.
        OSError: the file cannot be written.
    """
    crc_F = np.zeros(sample.num_frames, np.uint32)
    with os.fdopen(file, "r+b", closefd=False) as out:
        out.seek(header_bytes(sample))
        for number, frame_IW in enumerate(decode_to_yuv(tar, sample)):
            crc_F[number] = zlib.crc32(frame_IW.data)
            out.write(frame_IW.data)
        out.seek(0)
        out.write(crc_F.tobytes())


def remove_stale_files(folder: int) -> int:
    """Remove abandoned parts and files that have not been read for a day, from the folder of this
    descriptor; the caller must hold the lock of the ledger. Returns the number of bytes of the
    remaining files.
    """
    size_of, now = dict[str, int](), time.time()
    # Parts first: a part that is published in between is then found under its final name.
    for suffix in (".part", ".yuv", ".said"):
        for name in os.listdir(folder):
            if not (name.endswith(suffix) and _OWN_NAMES.fullmatch(name)):
                continue
            with suppress(FileNotFoundError):  # published or removed since it was listed
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if suffix == ".part":
                    is_stale = _is_abandoned(name, folder)
                else:
                    is_stale = now - status.st_mtime > UNREAD_SECONDS
                if is_stale:
                    os.unlink(name, dir_fd=folder)
                else:
                    size_of[name.removesuffix(".part")] = status.st_size
    return sum(size_of.values())


def try_lock(file: int) -> bool:
    """Lock a file unless another process has locked it. The kernel releases the lock when the
    process ends, however that happens.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_same_file(file: int, name: str, *, folder: int) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), named)


def exists(name: str, *, folder: int) -> bool:
    """Whether there is a file of this name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_abandoned(part: str, folder: int) -> bool:
    try:
        file = open_own_file(part, os.O_RDWR, folder=folder)
    except ForeignFileError:
        return True
    try:
        return try_lock(file)
    finally:
        os.close(file)
