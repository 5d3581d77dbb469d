"""The packet index KEY.idx: offsets of KEY.mp4's H.264 packets, to read clips without a demuxer.

One row of 13 bytes per packet, little-endian, in decode order: u32 offset in KEY.mp4, u32 size, u16
position of the frame in display order, u8 flags, u16 low half of the packet's crc32. Flags hold
nal_ref_idc in bits 0-1 (0: no other frame refers to this one) and "key frame" in bit 2. The crc32
of all rows follows the last one, u32. The checksums let a reader of a few packets detect damage;
most decoders do not notice it.
"""

import struct
import zlib
from typing import NamedTuple

INDEX_ROW = struct.Struct("<IIHBH")
INDEX_CHECKSUM = struct.Struct("<I")
FLAGS_BYTE = 10  # offset within a row
MAX_FRAMES = 1 << 16


class Packet(NamedTuple):
    """One coded frame. `display_index` is its position in display order."""

    offset: int
    size: int
    display_index: int
    flags: int
    checksum: int

    @property
    def is_key(self) -> bool:
        return bool(self.flags & 4)

    @property
    def is_needed_by_others(self) -> bool:
        return bool(self.flags & 3)


def packet_flags(*, is_key: bool, nal_ref_idc: int) -> int:
    return nal_ref_idc | (4 if is_key else 0)


def packet_checksum(data: bytes | memoryview) -> int:
    return zlib.crc32(data) & 0xFFFF


def pack_index(packets: list[Packet]) -> bytes:
    rows = b"".join(INDEX_ROW.pack(*packet) for packet in packets)
    return rows + INDEX_CHECKSUM.pack(zlib.crc32(rows))


def checked_rows(raw: bytes) -> bytes:
    """The rows of an index, after a check of their crc32.

    Raises:
        ValueError: the crc32 or the length is wrong.
    """
    rows, end = raw[: -INDEX_CHECKSUM.size], raw[-INDEX_CHECKSUM.size :]
    if not rows or len(rows) % INDEX_ROW.size or INDEX_CHECKSUM.pack(zlib.crc32(rows)) != end:
        raise ValueError("its packet index is damaged")
    return rows


def unpack_index(raw: bytes) -> list[Packet]:
    """The packets of an index.

    Raises:
        ValueError: it is damaged.
    """
    return [Packet(*row) for row in INDEX_ROW.iter_unpack(checked_rows(raw))]
