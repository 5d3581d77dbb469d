"""Whether an MPEG stream ends inside of a packet; its header promises nothing to compare with."""

import mmap
from pathlib import Path

# ISO/IEC 13818-1. Of a transport stream: packet size, and bytes before the sync byte; plain, with a
# time code (M2TS), and with error correction.
_SYNC = 0x47
_TRANSPORT_LAYOUTS = ((188, 0), (192, 4), (204, 0))
# Of a program stream: the start codes of a pack header, of the end, and of system headers and PES
# packets, which have their length in two bytes.
_PACK, _END, _FIRST_WITH_LENGTH = 0xBA, 0xB9, 0xBB
_MPEG1_PACK_BYTES, _MPEG2_PACK_BYTES = 12, 14


def ends_in_packet(path: Path, format_name: str) -> bool:
    """Whether the file, of this format of libavformat, ends before its last packet does.

    False where its packets cannot be followed, and for other formats.
    """
    if format_name not in {"mpegts", "mpeg"}:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if format_name == "mpegts":
            return _ends_in_transport_packet(data)
        return _ends_in_program_packet(data)


def _ends_in_transport_packet(data: mmap.mmap) -> bool:
    for size, sync in _TRANSPORT_LAYOUTS:
        starts = range(sync, min(len(data), 3 * size), size)
        if len(starts) == 3 and all(data[start] == _SYNC for start in starts):
            return len(data) % size != 0
    return False


def _ends_in_program_packet(data: mmap.mmap) -> bool:
    end, size = 0, len(data)
    while end < size:
        head = data[end : end + _MPEG2_PACK_BYTES]
        if head[:3] != b"\0\0\1"[: len(head)]:
            return False
        if len(head) < _MPEG2_PACK_BYTES:
            return not (len(head) == 4 and head[3] == _END)
        if head[3] == _PACK:
            is_mpeg2 = head[4] >> 6 == 1
            end += _MPEG2_PACK_BYTES + (head[13] & 7) if is_mpeg2 else _MPEG1_PACK_BYTES
        elif head[3] == _END:
            end += 4
        elif head[3] >= _FIRST_WITH_LENGTH:
            end += 6 + int.from_bytes(head[4:6], "big")
        else:
            return False
    return end > size
