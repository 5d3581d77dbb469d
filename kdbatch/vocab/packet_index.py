"""KEY.idx: where each H.264 packet of KEY.mp4 lies, so that a clip is read without opening the
container.

13 bytes per packet, little-endian, in decode order: u32 offset in KEY.mp4, u32 size, u16 frame in
display order, u8 flags, u16 low half of the packet's crc32. Flags hold nal_ref_idc in bits 0-1 (0:
no other frame needs this one) and "key frame" in bit 2. After the last row comes their crc32, u32.
Who reads a few packets of a video can so tell that they are what was stored; decoders mostly
cannot.
"""

import struct
import zlib
from typing import NamedTuple

INDEX_ROW = struct.Struct("<IIHBH")
INDEX_CHECKSUM = struct.Struct("<I")
FLAGS_BYTE = 10  # of a row
MAX_FRAMES = 1 << 16


class Packet(NamedTuple):
    """One coded frame."""

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
    """The rows of an index, which are what was written.

    Raises:
        ValueError: they are not.
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
