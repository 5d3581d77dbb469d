"""The packets of a stored video that some frames need, read from its tar and nothing else with them.

No decoder is called here, so every decoder gets the same bytes, checked in the same way.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbatch.vocab.shards import Sample

# One row of KEY.idx, as vocab/packets.py lays it out. Arrays, because 300 rows as objects cost a tenth of a clip's decoding.
_ROW = np.dtype([("offset", "<u4"), ("size", "<u4"), ("display", "<u2"), ("flags", "u1")])
_NEEDED_BY_OTHERS, _KEY = 3, 4
_PICTURES = (1, 5)  # NAL types of a slice and of a key slice, ITU-T H.264 table 7-1


Put = Callable[[int, np.ndarray], None]
"""What a decoder does with each frame: its place among those asked for, and a view of its pixels, HWC, that is valid during the call."""


class Damaged(Exception):
    """What was read is not what was stored; the message says how it showed."""


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Packets in decode order; `display` numbers the frame of each. `extradata` is the decoder configuration (avcC)."""

    packets: list[bytes]
    display: list[int]
    extradata: bytes
    width: int
    height: int

    def rank_of(self) -> dict[int, int]:
        """The place of each frame among the frames of the excerpt, in display order."""
        return {frame: rank for rank, frame in enumerate(sorted(self.display))}


def read_excerpt(tar: Path, sample: Sample, wanted: Sequence[int]) -> Excerpt:
    """What must be decoded to see the frames `wanted`: two reads, one of the index and one of the range that holds them all.

    Raises:
        Damaged: the index, or a packet, is not what was stored.
        OSError: the tar cannot be read.
    """
    with tar.open("rb", buffering=0) as file:
        rows = _index(read_range(file.fileno(), sample.index_bytes, sample.index_offset), sample)
        chosen = select_packets(rows["display"], rows["flags"], np.asarray(wanted, dtype=np.int64))
        offsets, sizes = rows["offset"][chosen].tolist(), rows["size"][chosen].tolist()
        start, end = min(offsets), max(map(sum, zip(offsets, sizes)))
        if end > sample.num_bytes:
            raise Damaged("its packet index is damaged")
        data = read_range(file.fileno(), end - start, sample.offset + start)
    packets = [data[offset - start : offset - start + size] for offset, size in zip(offsets, sizes)]
    for packet, flags in zip(packets, rows["flags"][chosen].tolist()):
        _check(packet, nal_ref_idc=flags & _NEEDED_BY_OTHERS)
    display = rows["display"][chosen].tolist()
    return Excerpt(packets=packets, display=display, extradata=bytes.fromhex(sample.extradata), width=sample.width, height=sample.height)


def select_packets(display: np.ndarray, flags: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Places, in decode order, of the packets that must be decoded to see the frames `wanted`.

    Groups of pictures are closed. So in each group with a wanted frame: all up to the last wanted one, less those that are neither
    wanted nor needed by others.
    """
    is_wanted = np.zeros(len(display), dtype=bool)
    is_wanted[np.argsort(display)[wanted]] = True
    group = np.cumsum((flags & _KEY) != 0) - 1
    last_of_group = np.full(group[-1] + 1, -1)
    place = np.flatnonzero(is_wanted)
    last_of_group[group[place]] = place  # places rise, and of equal indexes the last assignment stays
    in_reach = np.arange(len(display)) <= last_of_group[group]
    return np.flatnonzero(in_reach & (is_wanted | ((flags & _NEEDED_BY_OTHERS) != 0)))


def read_range(file: int, num_bytes: int, offset: int) -> bytes:
    data = os.pread(file, num_bytes, offset)
    if len(data) != num_bytes:
        raise Damaged("the tar is cut short")
    return data


def _index(raw: bytes, sample: Sample) -> np.ndarray:
    if len(raw) != _ROW.itemsize * sample.num_frames:
        raise Damaged("its packet index is damaged")
    rows = np.frombuffer(raw, _ROW)
    if not rows["flags"][0] & _KEY or not (np.bincount(rows["display"], minlength=sample.num_frames) == 1).all():
        raise Damaged("its packet index is damaged")
    return rows


def _check(packet: bytes, *, nal_ref_idc: int) -> None:
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
