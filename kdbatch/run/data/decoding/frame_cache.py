"""A cache of decoded frames on a node's own disk or in its memory, for data that is read often.

A video is visible under its name only when it is complete; frame_cache_files.py lists the files in
the folder.

Axes: N frames, F all frames of a video, I = the 3/2 H rows of a frame in YUV 4:2:0 (I420: H rows of
luma, then both chroma planes), W columns, B bytes of a frame.
"""

import errno
import fcntl
import logging
import math
import mmap
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.base.temporary.private_folder import (
    ForeignFileError,
    open_own_file,
    open_private_folder,
)
from kdbatch.run.data.decoding.excerpt import DamagedVideoError
from kdbatch.run.data.decoding.frame_cache_files import (
    cache_file_bytes,
    cache_file_name,
    exists,
    header_bytes,
    is_same_file,
    new_token,
    remove_stale_files,
    try_lock,
    write_frames,
)
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.shards.index import Sample

TOUCH_SECONDS = 3600  # the modification time of a file is updated at most so often
# There is no room for so large a file, now or later. Other errors may be temporary.
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_log = logging.getLogger(__name__)


class FrameCache:
    """A folder shared by all processes of one user on a node. If anything goes wrong with it, the
    run continues by decoding, and logs that once.

    `from_arguments` in a worker process makes the same cache of the same run.
    """

    def __init__(self, folder: Path, *, max_bytes: int, token: str = "") -> None:
        self.folder, self.max_bytes, self.token = folder, max_bytes, token or new_token()
        self._has_swept = False
        self._refused_bytes: float = math.inf  # the smallest size that did not fit
        self._has_warned = False
        # By file name: the frames that this process has compared with their checksums.
        self._verified: dict[str, np.ndarray] = {}

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "FrameCache":
        folder, max_bytes, token = arguments
        return cls(Path(folder), max_bytes=int(max_bytes), token=token)

    def to_arguments(self) -> tuple[str, str, str]:
        """Command-line arguments that describe the cache to a worker process."""
        return str(self.folder), str(self.max_bytes), self.token

    def accepts(self, sample: Sample) -> bool:
        """Whether a video can be cached: it must be in our own encoding, 4:2:0 with even sides.
        Original files may have any pixel format.
        """
        return bool(sample.extradata) and sample.width % 2 == 0 and sample.height % 2 == 0

    def read(self, sample: Sample, wanted: Sequence[int]) -> np.ndarray | None:
        """The frames `wanted` in YUV 4:2:0, shape NIW; None if the video is not in the cache, or is
        damaged there.
        """
        try:
            with open_private_folder(self.folder) as folder:
                return self._read_from(folder, sample, wanted)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_once(f"cannot be used ({error.strerror})")
            return None

    def _read_from(self, folder: int, sample: Sample, wanted: Sequence[int]) -> np.ndarray | None:
        name, file = cache_file_name(sample), -1
        try:
            file = open_own_file(name, os.O_RDONLY, folder=folder)
            status = os.fstat(file)
            if status.st_size != cache_file_bytes(sample):
                raise _CorruptEntryError
            if time.time() - status.st_mtime > TOUCH_SECONDS:
                os.utime(file)
            with mmap.mmap(file, status.st_size, prot=mmap.PROT_READ) as mapped:
                return self._copy_verified(name, mapped, sample, np.asarray(wanted))
        except (_CorruptEntryError, ForeignFileError) as error:
            kind = "damaged" if isinstance(error, _CorruptEntryError) else "foreign"
            self._warn_once(f"contained a {kind} video, which is written again")
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            return None
        finally:
            if file >= 0:
                os.close(file)

    def _copy_verified(
        self, name: str, mapped: mmap.mmap, sample: Sample, wanted_N: np.ndarray
    ) -> np.ndarray:
        """Copy frames out of a mapped file. A frame is compared with its checksum when this process
        reads it for the first time.
        """
        num_frames = sample.num_frames
        crc_F = np.frombuffer(mapped, np.uint32, num_frames)
        pixel_X = np.frombuffer(mapped, np.uint8, offset=header_bytes(sample))
        frame_NB = pixel_X.reshape(num_frames, -1)[wanted_N]
        is_verified_F = self._verified.setdefault(name, np.zeros(num_frames, bool))
        matches = [
            bool(is_verified_F[frame]) or zlib.crc32(row) == crc_F[frame]
            for frame, row in zip(wanted_N, frame_NB)
        ]
        del crc_F, pixel_X  # a map cannot be closed while arrays refer to it
        if not all(matches):
            raise _CorruptEntryError
        is_verified_F[wanted_N] = True
        return frame_NB.reshape(len(wanted_N), sample.height * 3 // 2, sample.width)

    def add(self, tar: Path, sample: Sample) -> bool:
        """Decode the whole video into the cache.

        Returns False if there is no room, the video is damaged, or another process is adding it.
        """
        if cache_file_bytes(sample) >= self._refused_bytes:
            return False
        name = cache_file_name(sample)
        try:
            with (
                open_private_folder(self.folder) as folder,
                self._part_file(sample, folder) as file,
            ):
                if file is None:
                    return exists(name, folder=folder)
                write_frames(file, tar, sample)
                os.replace(f"{name}.part", name, src_dir_fd=folder, dst_dir_fd=folder)
                return True
        except DamagedVideoError:
            return False  # the decoder will report what is wrong with the video
        except OSError as error:
            if error.errno in _NO_SPACE:
                self._refused_bytes = min(self._refused_bytes, cache_file_bytes(sample))
            self._warn_once(f"cannot be filled further ({error.strerror})")
            return False

    @contextmanager
    def _part_file(self, sample: Sample, folder: int) -> Iterator[int | None]:
        """A locked file with room for the video; None if another process has it, or has published
        it. The file is removed again after a failure.
        """
        part, size = f"{cache_file_name(sample)}.part", cache_file_bytes(sample)
        file = self._reserve(part, size, folder)
        try:
            yield file
        except BaseException:
            if file is not None:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
                with suppress(OSError), _locked_ledger(folder) as taken:
                    taken[0] -= size
            raise
        finally:
            if file is not None:
                os.close(file)

    def _reserve(self, part: str, size: int, folder: int) -> int | None:
        """Create and lock a part of `size` bytes, and count it in the ledger."""
        with _locked_ledger(folder) as taken:
            if not self._has_swept:
                taken[0] = remove_stale_files(folder)
                self._has_swept = True
            if taken[0] + size > self.max_bytes:
                raise OSError(
                    errno.EDQUOT,
                    f"{taken[0] / 1e9:.3g} GB are taken; [cache] max_gb in kdbatch.toml is "
                    f"{self.max_bytes / 1e9:.3g}",
                )
            file = open_own_file(part, os.O_RDWR | os.O_CREAT, folder=folder)
            if not try_lock(file) or not is_same_file(file, part, folder=folder):
                # It is being written, or was published or removed between these two lines.
                os.close(file)
                return None
            try:
                if exists(part.removesuffix(".part"), folder=folder):  # published before this
                    os.unlink(part, dir_fd=folder)
                    os.close(file)
                    return None
                # A full disk fails here, and not in the middle of a frame.
                os.posix_fallocate(file, 0, size)
            except OSError:
                os.unlink(part, dir_fd=folder)
                os.close(file)
                raise
            taken[0] += size
        return file

    def _warn_once(self, reason: str) -> None:
        """Log one line per run, by the first of its processes that has a reason."""
        if self._has_warned:
            return
        self._has_warned = True
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with open_private_folder(self.folder) as folder:
                os.close(open_own_file(f"{self.token}.said", flags, folder=folder))
        except FileExistsError:
            return
        except OSError:  # then every process logs its own line
            pass
        _log.warning(
            "frame cache %s: %s. The run continues and decodes the videos that are not cached.",
            self.folder,
            reason,
        )


@contextmanager
def _locked_ledger(folder: int) -> Iterator[list[int]]:
    """The number of bytes taken, as a list of one that the caller may change; locked."""
    file = open_own_file("ledger", os.O_RDWR | os.O_CREAT, folder=folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = os.pread(file, 32, 0)
        taken = [int(text) if text.strip().isdigit() else remove_stale_files(folder)]
        try:
            yield taken
        finally:
            os.pwrite(file, f"{max(0, taken[0]):<31}\n".encode(), 0)
    finally:
        os.close(file)


class _CorruptEntryError(Exception):
    """The content of a cached file is not what was written to it."""


def find_frame_cache(setting: Cache, *, warn: Callable[[str], None]) -> FrameCache | None:
    """The frame cache of this user on this node; None where it is not set, or cannot be used.

    `warn` is given one line about a cache that cannot be used.
    """
    if not setting.path:
        return None
    try:
        folder = setting.private_folder(os.path.expandvars)
    except UserError as error:
        warn(f"kdbatch: no frame cache: {error}. Videos are decoded each time.")
        return None
    return FrameCache(folder, max_bytes=int(setting.max_gb * 1e9))
