"""KEY.idx: where each H.264 packet of KEY.mp4 lies, so that a clip is read without opening the container.

11 bytes per packet, little-endian, in decode order: u32 offset in KEY.mp4, u32 size, u16 frame in display order, u8 flags. Flags hold
nal_ref_idc in bits 0-1 (0: no other frame needs this one) and "key frame" in bit 2.
"""

import struct
from typing import NamedTuple

INDEX_ROW = struct.Struct("<IIHB")
MAX_FRAMES = 1 << 16


class Packet(NamedTuple):
    """One coded frame."""

    offset: int
    size: int
    display: int
    flags: int

    @property
    def is_key(self) -> bool:
        return bool(self.flags & 4)

    @property
    def is_needed_by_others(self) -> bool:
        return bool(self.flags & 3)


def packet_flags(*, is_key: bool, nal_ref_idc: int) -> int:
    return nal_ref_idc | (4 if is_key else 0)


def pack_index(packets: list[Packet]) -> bytes:
    return b"".join(INDEX_ROW.pack(*packet) for packet in packets)


def unpack_index(raw: bytes) -> list[Packet]:
    """The packets of an index.

    Raises:
        ValueError: the bytes are no whole number of rows.
    """
    if not raw or len(raw) % INDEX_ROW.size:
        raise ValueError(f"{len(raw)} bytes are not {INDEX_ROW.size} per packet")
    return [Packet(*row) for row in INDEX_ROW.iter_unpack(raw)]
