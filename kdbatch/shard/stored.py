"""A video as it goes into a tar, and the errors of storing one.

This module does not import PyAV: a login node lists and counts shards without it.
"""

import os
from dataclasses import dataclass
from pathlib import Path


class BrokenVideo(Exception):
    """A video that cannot be stored; the message is the reason."""


class HostError(OSError):
    """An error of the machine, not of a video, outside the folder that shards are written to.

    `filename` is the path and `strerror` the reason.
    """


@dataclass(frozen=True, kw_only=True)
class EncodedVideo:
    """The bytes of a video and the facts that a reader needs.

    `container` is the file's suffix without the dot. `extradata` is the decoder configuration
    (avcC), without which bare packets cannot be decoded. `index` and `extradata` are empty for an
    original.
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
    """The reason why a video is not stored, with the size and time of the file that was tried."""

    reason: str
    num_bytes: int
    mtime_ns: int


def check_is_video(num_frames: int) -> None:
    """Raise BrokenVideo for fewer than two frames."""
    if num_frames == 1:
        raise BrokenVideo("holds one frame, which is a picture")
    if num_frames < 1:
        raise BrokenVideo("holds no frame that can be decoded")


def size_and_time(path: Path) -> tuple[int, int]:
    """A file's size in bytes and its time of change in ns; zeros for a file that cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if os.access(path, os.R_OK) else (0, 0)
