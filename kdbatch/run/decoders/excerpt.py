"""The packets of a stored video that some frames need, read from its tar and nothing else with them.

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

from kdbatch.vocab.packets import INDEX_ROW
from kdbatch.vocab.shards import Sample

_NEEDED_BY_OTHERS = 3
_KEY_FLAGS = re.compile(rb"[\x04-\x07]")
_MAX_TARS = 128  # of the 1024 files that a process may usually have open
_PICTURES = (1, 5)  # NAL types of a slice and of a key slice, ITU-T H.264 table 7-1


Put = Callable[[int, np.ndarray], None]
"""What a decoder does with each frame: its place among those asked for, and a view of its pixels, HWC, that is valid during the call."""


class Damaged(Exception):
    """What was read is not what was stored; the message says how it showed."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Packets in decode order; `display` numbers the frame of each. `extradata` is the decoder configuration (avcC)."""

    packets: list[memoryview]
    display: list[int]
    extradata: bytes
    width: int
    height: int

    def rank_of(self) -> dict[int, int]:
        """The place of each frame among the frames of the excerpt, in display order."""
        return {frame: rank for rank, frame in enumerate(sorted(self.display))}


class _Tars(threading.local):
    """File numbers of tars, kept open: to open a file is dear on a parallel file system, where one server does it for all nodes.

    One set per thread, so that nobody closes what another one reads from; each goes with its thread.
    """

    def __init__(self) -> None:
        self._number_of: dict[Path, int] = {}

    def open(self, tar: Path) -> int:
        number = self._number_of.pop(tar, None)
        if number is None:
            while len(self._number_of) >= _MAX_TARS:
                os.close(self._number_of.pop(next(iter(self._number_of))))  # the one that has waited longest
            number = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        self._number_of[tar] = number
        return number

    def __del__(self) -> None:
        for number in self._number_of.values():
            os.close(number)


_TARS = _Tars()


def read_excerpt(tar: Path, sample: Sample, wanted: Sequence[int]) -> Excerpt:
    """What must be decoded to see the frames `wanted`: two reads, one of the index and one of the range that holds them all.

    Raises:
        Damaged: the index, or a packet, is not what was stored.
        OSError: the tar cannot be read.
    """
    rows = select_packets(read_range(tar, sample.index_bytes, sample.index_offset), wanted, num_frames=sample.num_frames)
    start, end = min(row[0] for row in rows), max(row[0] + row[1] for row in rows)
    if end > sample.num_bytes:
        raise Damaged("its packet index is damaged")
    data = memoryview(read_range(tar, end - start, sample.offset + start))
    packets = []
    for offset, size, _, flags in rows:
        packet = data[offset - start : offset - start + size]
        _check(packet, nal_ref_idc=flags & _NEEDED_BY_OTHERS)
        packets.append(packet)
    display = [row[2] for row in rows]
    return Excerpt(packets=packets, display=display, extradata=bytes.fromhex(sample.extradata), width=sample.width, height=sample.height)


def select_packets(index: bytes, wanted: Sequence[int], *, num_frames: int) -> list[tuple[int, int, int, int]]:
    """Rows (offset, size, display, flags) in decode order of the packets that must be decoded to see the frames `wanted`.

    Groups of pictures are closed: they follow each other in decode order as they do on display. So in each group with a wanted frame:
    all up to the last wanted one, less those that are neither wanted nor needed by others. Only rows of such groups are looked at, as
    300 of them cost a tenth of a clip's decoding.

    Raises:
        Damaged: rows that are looked at are not those of such groups.
    """
    flags = index[INDEX_ROW.size - 1 :: INDEX_ROW.size]
    starts = [found.start() for found in _KEY_FLAGS.finditer(flags)]
    if len(index) != INDEX_ROW.size * num_frames or not starts or starts[0]:
        raise Damaged("its packet index is damaged")
    wanted_of: dict[int, set[int]] = {}
    for frame in sorted(wanted):
        wanted_of.setdefault(bisect_right(starts, frame) - 1, set()).add(frame)
    starts.append(num_frames)
    rows = []
    for group, frames in wanted_of.items():
        start, end = starts[group], starts[group + 1]
        of_group = list(INDEX_ROW.iter_unpack(index[start * INDEX_ROW.size : end * INDEX_ROW.size]))
        if sorted([row[2] for row in of_group]) != list(range(start, end)):
            raise Damaged("its packet index is damaged")
        for row in of_group:
            if row[2] in frames:
                frames.remove(row[2])
                rows.append(row)
                if not frames:
                    break
            elif row[3] & _NEEDED_BY_OTHERS:
                rows.append(row)
    return rows


def read_range(tar: Path, num_bytes: int, offset: int) -> bytes:
    data = os.pread(_TARS.open(tar), num_bytes, offset)
    if len(data) != num_bytes:
        raise Damaged("the tar is cut short")
    return data


def _check(packet: memoryview, *, nal_ref_idc: int) -> None:
    """The packet is a chain of NAL units, and its picture is what the index says.

    Decoders hide most damage behind frames that look nearly right; where a range was lost or zeroed, the chain breaks. Whole videos
    are checked by their crc32 in `kdbatch shard verify`.
    """
    place, has_picture, size = 0, False, len(packet)
    while place + 4 < size:
        head = packet[place + 4]
        if head & 31 in _PICTURES:
            has_picture = head >> 5 == nal_ref_idc
            if not has_picture:
                break
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    if place != size or not has_picture:
        raise Damaged("a packet of it is damaged")
