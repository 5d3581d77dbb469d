"""The packets of a stored video that some frames need, read from its tar and nothing else with
them.

No decoder is called here, so every decoder gets the same bytes, checked in the same way.
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
from kdbatch.vocab.shards import Sample

_NEEDED_BY_OTHERS = 3
_KEY_FLAGS = re.compile(rb"[\x04-\x07]")
_MAX_OPEN_TARS = 128  # of the 1024 files that a process may usually have open


PutFrame = Callable[[int, np.ndarray], None]
"""What a decoder does with each frame: its place among those asked for, and a view of its pixels,
HWC, that is valid during the call.
"""


class DamagedVideoError(Exception):
    """What was read is not what was stored; the message says how it showed."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Packets in decode order; `display` numbers the frame of each. `extradata` is the decoder
    configuration (avcC).
    """

    packets: list[memoryview]
    display: list[int]
    extradata: bytes
    width: int
    height: int

    def display_ranks(self) -> dict[int, int]:
        """The place of each frame among the frames of the excerpt, in display order."""
        return {frame: rank for rank, frame in enumerate(sorted(self.display))}


class _OpenTars:
    """File numbers of tars, kept open: to open a file is dear on a parallel file system, where one
    server does it for all nodes.
    """

    def __init__(self) -> None:
        self._descriptors: dict[Path, int] = {}

    def open(self, tar: Path) -> int:
        number = self._descriptors.pop(tar, None)
        if number is None:
            while len(self._descriptors) >= _MAX_OPEN_TARS:
                os.close(
                    self._descriptors.pop(next(iter(self._descriptors)))
                )  # the one that has waited longest
            number = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        self._descriptors[tar] = number
        return number

    def __del__(self) -> None:
        for number in self._descriptors.values():
            os.close(number)


class _ThreadTars(threading.local):
    """Each thread has tars of its own, so that nobody closes what another one reads from; they are
    closed when it ends.
    """

    def __init__(self) -> None:
        self.tars = _OpenTars()


_THREAD = _ThreadTars()


def read_excerpt(tar: Path, sample: Sample, wanted: Sequence[int]) -> Excerpt:
    """What must be decoded to see the frames `wanted`: two reads, one of the index and one of the
    range that holds them all.

    Raises:
        DamagedVideoError: the index, or a packet, is not what was stored.
        OSError: the tar cannot be read.
    """
    rows = select_packets(
        read_range(tar, sample.index_bytes, sample.index_offset),
        wanted,
        num_frames=sample.num_frames,
    )
    start, end = min(row[0] for row in rows), max(row[0] + row[1] for row in rows)
    data = memoryview(read_range(tar, end - start, sample.offset + start))
    packets = [data[offset - start : offset - start + size] for offset, size, *_ in rows]
    if any(packet_checksum(packet) != row[4] for packet, row in zip(packets, rows)):
        raise DamagedVideoError("a packet of it is damaged")
    display = [row[2] for row in rows]
    return Excerpt(
        packets=packets,
        display=display,
        extradata=bytes.fromhex(sample.extradata),
        width=sample.width,
        height=sample.height,
    )


def select_packets(
    index: bytes, wanted: Sequence[int], *, num_frames: int
) -> list[tuple[int, ...]]:
    """Rows of the index, in decode order, of the packets that must be decoded to see the frames
    `wanted`.

    Groups of pictures are closed: they follow each other in decode order as they do on display. So
    in each group with a wanted frame: all up to the last wanted one, less those that are neither
    wanted nor needed by others. Only rows of such groups are looked at, as 300 of them cost a tenth
    of a clip's decoding.

    Raises:
        DamagedVideoError: the index is not what was stored, or not of a video of so many frames.
    """
    try:
        raw = checked_rows(index)
    except ValueError as error:
        raise DamagedVideoError(str(error)) from error
    if len(raw) != INDEX_ROW.size * num_frames:
        raise DamagedVideoError(f"it has {len(raw) // INDEX_ROW.size} frames, not {num_frames}")
    starts = [found.start() for found in _KEY_FLAGS.finditer(raw[FLAGS_BYTE :: INDEX_ROW.size])]
    wanted_of: dict[int, set[int]] = {}
    for frame in sorted(wanted):
        wanted_of.setdefault(bisect_right(starts, frame) - 1, set()).add(frame)
    starts.append(num_frames)
    rows = []
    for group, frames in wanted_of.items():
        for row in INDEX_ROW.iter_unpack(
            raw[starts[group] * INDEX_ROW.size : starts[group + 1] * INDEX_ROW.size]
        ):
            if row[2] in frames:
                frames.remove(row[2])
                rows.append(row)
                if not frames:
                    break
            elif row[3] & _NEEDED_BY_OTHERS:
                rows.append(row)
    return rows


def read_range(tar: Path, num_bytes: int, offset: int) -> bytes:
    data = os.pread(_THREAD.tars.open(tar), num_bytes, offset)
    if len(data) != num_bytes:
        raise DamagedVideoError("the tar is cut short")
    return data
