"""Whether a Matroska or FLV file is damaged in its middle; libav skips what it cannot read there.

Both are sequences of elements that state their own sizes, so each must begin where the last ends.
"""

import mmap
from pathlib import Path

# RFC 8794: an identifier has at most 4 bytes, a size at most 8; all ones are an unknown size.
_MAX_ID_BYTES, _MAX_SIZE_BYTES = 4, 8
# RFC 9559.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_LEVEL_1 = frozenset(
    {0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _CLUSTER}
)
# Adobe's specification of FLV 10.1, annex E.4.1: sound, pictures, script data.
_FLV_TAGS = frozenset({8, 9, 18})
_FLV_HEADER_BYTES, _FLV_TAG_BYTES, _FLV_BACK_BYTES = 9, 11, 4


def has_gap(path: Path, format_name: str) -> bool:
    """Whether the file, of this format of libavformat, has bytes between its elements that are
    none, or elements that end where none begins. False for other formats.
    """
    if format_name not in {"matroska,webm", "flv"}:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _has_gap_in_flv(data) if format_name == "flv" else _has_gap_in_matroska(data)


def _has_gap_in_flv(data: mmap.mmap) -> bool:
    start = int.from_bytes(data[5:9], "big") + _FLV_BACK_BYTES
    if start < _FLV_HEADER_BYTES + _FLV_BACK_BYTES:
        return True
    while start < len(data):
        head = data[start : start + _FLV_TAG_BYTES]
        if len(head) < _FLV_TAG_BYTES or head[0] & 31 not in _FLV_TAGS or any(head[8:]):
            return not _is_padding(data, start)
        start += _FLV_TAG_BYTES + int.from_bytes(head[1:4], "big") + _FLV_BACK_BYTES
    return False


def _has_gap_in_matroska(data: mmap.mmap) -> bool:
    """Follow the elements of segments and clusters; the others are passed over whole."""
    start = 0
    ends: list[int | None] = []  # of the segment and the cluster around `start`; None is unknown
    while start < len(data):
        while ends and start == ends[-1]:
            ends.pop()
        known = [end for end in ends if end is not None]
        element = _element(data, start)
        if element is None:
            return bool(known) or not _is_padding(data, start)
        kind, content, size = element
        if kind in _LEVEL_1 and ends[1:] == [None]:  # which ends a cluster of unknown size
            ends.pop()
        if size is not None and content + size > min(known, default=len(data)):
            return True
        if kind in (_SEGMENT, _CLUSTER):
            ends.append(None if size is None else content + size)
            start = content
        elif size is None:
            return False  # nobody knows where it ends
        else:
            start = content + size
    return False


def _element(data: mmap.mmap, start: int) -> tuple[int, int, int | None] | None:
    """The identifier of an element, where its content starts, and its size, None if unknown."""
    id_bytes = _num_bytes(data, start)
    size_at = start + id_bytes
    size_bytes = _num_bytes(data, size_at)
    content = size_at + size_bytes
    if not 0 < id_bytes <= _MAX_ID_BYTES or not size_bytes or content > len(data):
        return None
    ones = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(data[size_at:content], "big") & ones
    return int.from_bytes(data[start:size_at], "big"), content, None if size == ones else size


def _num_bytes(data: mmap.mmap, start: int) -> int:
    """The number of bytes of the number that starts there, by its leading zeros; 0 for none."""
    return (
        _MAX_SIZE_BYTES + 1 - data[start].bit_length() if start < len(data) and data[start] else 0
    )


def _is_padding(data: mmap.mmap, start: int) -> bool:
    return not data[start:].strip(b"\0")
