"""Decoded frames kept on a node's own disk or in its memory, for data sets that are read many
times.

Axes: N frames, I = the 3/2 H rows of a frame in YUV 4:2:0 (I420: H rows of luma, then both chroma
planes), W columns. A video appears under its name when it is whole; cache_files.py says what lies
in the folder.
"""

import errno
import fcntl
import logging
import math
import mmap
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from kdbatch.run.data.decoding.excerpt import DamagedVideoError
from kdbatch.run.data.decoding.frame_cache_files import (
    cache_file_bytes,
    cache_file_name,
    header_bytes,
    is_same_file,
    new_token,
    remove_stale_files,
    try_lock,
    write_frames,
)
from kdbatch.vocab.shards import Sample

TOUCH_SECONDS = 3600  # a file's time of last reading is noted at most so often
_NO_SPACE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
)  # no room for so large a file, now or later; other errors may pass

_log = logging.getLogger(__name__)


class FrameCache:
    """One folder shared by all processes of a node. Whatever goes wrong with it, a run goes on by
    decoding and says so once.

    `from_arguments` of another process makes the same cache of the same run.
    """

    def __init__(self, folder: Path, *, max_bytes: int, token: str = "") -> None:
        self.folder, self.max_bytes, self.token = folder, max_bytes, token or new_token()
        self._has_swept = False
        self._refused_bytes: float = math.inf  # the smallest size that did not fit
        self._has_warned = False
        self._verified: dict[
            str, np.ndarray
        ] = {}  # which frames this process has compared with their checksums

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "FrameCache":
        folder, max_bytes, token = arguments
        return cls(Path(folder), max_bytes=int(max_bytes), token=token)

    def to_arguments(self) -> tuple[str, str, str]:
        """Command-line arguments that describe the cache to a worker process."""
        return str(self.folder), str(self.max_bytes), self.token

    def accepts(self, sample: Sample) -> bool:
        """Videos in our own encoding: 4:2:0 with even sides. Foreign ones may be stored in any
        pixel format.
        """
        return bool(sample.extradata) and sample.width % 2 == 0 and sample.height % 2 == 0

    def read(self, sample: Sample, wanted: Sequence[int]) -> np.ndarray | None:
        """The frames `wanted` in YUV 4:2:0, shape NIW; None where the video is not here, or no
        longer whole.
        """
        path = self.folder / cache_file_name(sample)
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            about = os.fstat(file)
            if about.st_size != cache_file_bytes(sample):
                raise _CorruptEntryError
            if time.time() - about.st_mtime > TOUCH_SECONDS:
                os.utime(file)
            with mmap.mmap(file, about.st_size, prot=mmap.PROT_READ) as mapped:
                return self._copy_verified(path.name, mapped, sample, np.asarray(wanted))
        except _CorruptEntryError:
            self._warn_once("held a damaged video, which is written anew")
            path.unlink(missing_ok=True)
            return None
        except OSError as error:
            self._warn_once(f"cannot be read ({error.strerror})")
            return None
        finally:
            os.close(file)

    def _copy_verified(
        self, name: str, mapped: mmap.mmap, sample: Sample, wanted_N: np.ndarray
    ) -> np.ndarray:
        """Each frame is compared with its checksum when this process reads it first."""
        crc_F = np.frombuffer(mapped, np.uint32, sample.num_frames)
        frame_FB = np.frombuffer(mapped, np.uint8, offset=header_bytes(sample)).reshape(
            sample.num_frames, -1
        )
        checked_F = self._verified.setdefault(name, np.zeros(sample.num_frames, bool))
        frame_NB = frame_FB[wanted_N]
        matches = [
            bool(checked_F[frame]) or zlib.crc32(row) == crc_F[frame]
            for frame, row in zip(wanted_N, frame_NB)
        ]
        del crc_F, frame_FB  # a map cannot be closed while arrays look into it
        if not all(matches):
            raise _CorruptEntryError
        checked_F[wanted_N] = True
        return frame_NB.reshape(len(wanted_N), sample.height * 3 // 2, sample.width)

    def add(self, tar: Path, sample: Sample) -> bool:
        """Decode the whole video into the cache. False where it cannot be: no room, damaged, or
        another process is at it.
        """
        if cache_file_bytes(sample) >= self._refused_bytes:
            return False
        try:
            with self._part_file(sample) as file:
                if file is None:
                    return (self.folder / cache_file_name(sample)).exists()
                write_frames(file, tar, sample)
                self._part_path(sample).replace(self.folder / cache_file_name(sample))
                return True
        except DamagedVideoError:
            return False  # the decoder will say what is wrong with the video
        except OSError as error:
            if error.errno in _NO_SPACE:
                self._refused_bytes = min(self._refused_bytes, cache_file_bytes(sample))
            self._warn_once(f"cannot be filled further ({error.strerror})")
            return False

    def _part_path(self, sample: Sample) -> Path:
        return self.folder / f"{cache_file_name(sample)}.part"

    @contextmanager
    def _part_file(self, sample: Sample) -> Iterator[int | None]:
        """A locked file with room for the video; None where another process has or had one. What
        fails is removed again.
        """
        part, size = self._part_path(sample), cache_file_bytes(sample)
        file = self._reserve(part, size)
        try:
            yield file
        except BaseException:
            if file is not None:
                part.unlink(missing_ok=True)
                with suppress(OSError), self._locked_ledger() as taken:
                    taken[0] -= size
            raise
        finally:
            if file is not None:
                os.close(file)

    def _reserve(self, part: Path, size: int) -> int | None:
        with self._locked_ledger() as taken:
            if not self._has_swept:
                taken[0] = remove_stale_files(self.folder)
                self._has_swept = True
            if taken[0] + size > self.max_bytes:
                about = f"{taken[0] / 1e9:.3g} GB are taken; [cache] max_gb in kdbatch.toml is {self.max_bytes / 1e9:.3g}"
                raise OSError(errno.EDQUOT, about)
            file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not try_lock(file) or not is_same_file(file, part):
                os.close(
                    file
                )  # being written, or was published or given up between these two lines
                return None
            if part.with_suffix("").exists():  # was published before this part was made
                part.unlink()
                os.close(file)
                return None
            try:
                os.posix_fallocate(
                    file, 0, size
                )  # a full disk says so here, and not in the middle of a frame
            except OSError:
                part.unlink()
                os.close(file)
                raise
            taken[0] += size
        return file

    @contextmanager
    def _locked_ledger(self) -> Iterator[list[int]]:
        """The number of bytes taken, as a list of one, to be changed; held alone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.folder / "ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            text = os.pread(file, 32, 0)
            taken = [int(text) if text.strip().isdigit() else remove_stale_files(self.folder)]
            try:
                yield taken
            finally:
                os.pwrite(file, f"{max(0, taken[0]):<31}\n".encode(), 0)
        finally:
            os.close(file)

    def _warn_once(self, what: str) -> None:
        """One line per run, whichever of its processes is first."""
        if self._has_warned:
            return
        self._has_warned = True
        try:
            os.close(os.open(self.folder / f"{self.token}.said", os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError:  # then every process speaks for itself
            pass
        _log.warning(
            "frame cache %s: %s. The run goes on and decodes what is not there.", self.folder, what
        )


class _CorruptEntryError(Exception):
    """What is in the cache is not what was put there."""
