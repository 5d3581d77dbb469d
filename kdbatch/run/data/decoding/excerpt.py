"""Reads from a tar the packets of a stored video that some of its frames need, and no others.

Nothing is decoded here, so every decoder gets the same bytes, checked in the same way.
"""

import os
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbatch.vocab.packet_index import FLAGS_BYTE, INDEX_ROW, checked_rows, packet_checksum
from kdbatch.vocab.shards.index import Sample

_NEEDED_BY_OTHERS = 3
_KEY_FLAGS = re.compile(rb"[\x04-\x07]")
_MAX_OPEN_TARS = 128  # of the 1024 files that a process may usually have open


PutFrame = Callable[[int, np.ndarray], None]
"""Called by a decoder with each frame: its position among the wanted ones, and a view of its pixels
(HWC) that is valid during the call.
"""


class DamagedVideoError(Exception):
    """The bytes read are not those that were stored; the message says how that was noticed."""


@dataclass(frozen=True, kw_only=True)
class PacketExcerpt:
    """Packets of a video in decode order; `display` is the frame number of each. `extradata` is the
    decoder configuration (avcC).
    """

    packets: list[memoryview]
    display: list[int]
    extradata: bytes
    width: int
    height: int

    def display_ranks(self) -> dict[int, int]:
        """The rank of each frame of the excerpt in display order."""
        return {frame: rank for rank, frame in enumerate(sorted(self.display))}


class _OpenTars:
    """File descriptors of tars, kept open: opening a file is slow on a parallel file system, where
    one metadata server does it for all nodes.
    """

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, tar: Path) -> int:
        descriptor = self._descriptors.pop(tar, None)
        if descriptor is None:
            while len(self._descriptors) >= _MAX_OPEN_TARS:
                least_recent = next(iter(self._descriptors))
                os.close(self._descriptors.pop(least_recent))
            descriptor = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors[tar] = descriptor
        return descriptor

    def __del__(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


class _ThreadTars(threading.local):
    """Open tars of one thread, so that no thread closes a tar that another one reads from. They are
    closed when the thread ends.
    """

    def __init__(self) -> None:
        self.tars = _OpenTars()


_THREAD = _ThreadTars()


def read_excerpt(tar: Path, sample: Sample, wanted: Sequence[int]) -> PacketExcerpt:
    """Read the packets that must be decoded to get the frames `wanted`.

    This takes two reads: one of the index, one of the range that contains all the packets.

    Raises:
        DamagedVideoError: the index, or a packet, is not what was stored.
        OSError: the tar cannot be read.
    """
    index = read_range(tar, sample.index_bytes, sample.index_offset)

    def read(start: int, end: int) -> bytes:
        return read_range(tar, end - start, sample.offset + start)

    return _excerpt(index, read, sample, wanted)


def excerpt_of(video: bytes, index: bytes, sample: Sample, wanted: Sequence[int]) -> PacketExcerpt:
    """The packets that must be decoded to get the frames `wanted`, of a video in memory.

    Raises:
        DamagedVideoError: the index, or a packet, is not what was stored.
    """
    return _excerpt(index, lambda start, end: video[start:end], sample, wanted)


def _excerpt(
    index: bytes, read: Callable[[int, int], bytes], sample: Sample, wanted: Sequence[int]
) -> PacketExcerpt:
    rows = select_packets(index, wanted, num_frames=sample.num_frames)
    start, end = min(row[0] for row in rows), max(row[0] + row[1] for row in rows)
    data = memoryview(read(start, end))
    packets = [data[offset - start : offset - start + size] for offset, size, *_ in rows]
    if any(packet_checksum(packet) != row[4] for packet, row in zip(packets, rows)):
        raise DamagedVideoError("a packet of it is damaged")
    return PacketExcerpt(
        packets=packets,
        display=[row[2] for row in rows],
        extradata=bytes.fromhex(sample.extradata),
        width=sample.width,
        height=sample.height,
    )


def select_packets(
    index: bytes, wanted: Sequence[int], *, num_frames: int
) -> list[tuple[int, ...]]:
    """Rows of the index, in decode order, of the packets that the frames `wanted` need.

    Groups of pictures are closed, and follow each other in decode order as on display. So of each
    group with a wanted frame all packets are needed up to its last wanted one, except those that
    are neither wanted nor needed by others. Rows of other groups are not parsed: 300 rows cost a
    tenth of the decoding of a clip.

    Raises:
        DamagedVideoError: the index is not what was stored, or does not have `num_frames` rows.
    """
    try:
        raw = checked_rows(index)
    except ValueError as error:
        raise DamagedVideoError(str(error)) from error
    if len(raw) != INDEX_ROW.size * num_frames:
        raise DamagedVideoError(f"it has {len(raw) // INDEX_ROW.size} frames, not {num_frames}")
    flags = raw[FLAGS_BYTE :: INDEX_ROW.size]
    starts = [match.start() for match in _KEY_FLAGS.finditer(flags)]
    wanted_of: dict[int, set[int]] = {}
    for frame in sorted(wanted):
        wanted_of.setdefault(bisect_right(starts, frame) - 1, set()).add(frame)
    starts.append(num_frames)
    rows = []
    for group, frames in wanted_of.items():
        start, end = starts[group] * INDEX_ROW.size, starts[group + 1] * INDEX_ROW.size
        for row in INDEX_ROW.iter_unpack(raw[start:end]):
            if row[2] in frames:
                frames.remove(row[2])
                rows.append(row)
                if not frames:
                    break
            elif row[3] & _NEEDED_BY_OTHERS:
                rows.append(row)
    return rows


def read_range(tar: Path, num_bytes: int, offset: int) -> bytes:
    """Bytes of a tar.

    Raises:
        DamagedVideoError: the tar ends before the range does.
    """
    data = os.pread(_THREAD.tars.open(tar), num_bytes, offset)
    if len(data) != num_bytes:
        raise DamagedVideoError("the tar is cut short")
    return data
