"""A video as it goes into a tar, and why some do not. No PyAV here: a login node lists and counts
shards without it.
"""

import os
from dataclasses import dataclass
from pathlib import Path


class BrokenVideo(Exception):
    """A video that cannot be stored; the message is the reason."""


class HostError(OSError):
    """Not the video's fault, and elsewhere than where shards are written: `filename` is where,
    `strerror` what.
    """


@dataclass(frozen=True, kw_only=True)
class EncodedVideo:
    """The bytes of a video and what a reader must know of them.

    `container` is the file's suffix without the dot. `extradata` is the decoder configuration
    (avcC) without which bare packets cannot be decoded; it and `index` are empty for an original
    that is stored as it came.
    """

    video: bytes
    container: str
    index: bytes
    extradata: bytes
    num_frames: int
    fps: float
    source_fps: float
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class StoreFailure:
    """Why a video is not stored, and the size and time of the file of which that is true."""

    reason: str
    num_bytes: int
    mtime_ns: int


def size_and_time(path: Path) -> tuple[int, int]:
    """In bytes, and when it was changed, in ns; zeros where there is no file that can be read."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if os.access(path, os.R_OK) else (0, 0)
