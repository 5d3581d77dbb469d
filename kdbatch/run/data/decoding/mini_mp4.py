"""Builds an mp4 in memory from a packet excerpt, for decoders that can only open files.

ISO/IEC 14496-12 (boxes) and 14496-15 (avc1, avcC). The file deviates from the video in two points,
so that no reader ever seeks: only one sync sample is declared, although every group starts with a
key frame; and frames are one tick apart, although some frames of the video are missing.
"""

import struct

from kdbatch.run.data.decoding.excerpt import PacketExcerpt

_TICKS = 25  # per second; any rate would do, as frames are requested by number
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def mini_mp4(excerpt: PacketExcerpt) -> bytes:
    """The bytes of the file. Its frame r is the r-th frame of the excerpt in display order."""
    head = _ftyp()
    size = len(head) + len(_moov(excerpt, 0))
    head += _moov(excerpt, size + 8)
    data = b"".join(excerpt.packets)
    return head + struct.pack(">I4s", 8 + len(data), b"mdat") + data


def _ftyp() -> bytes:
    return _box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2avc1mp41")


def _moov(excerpt: PacketExcerpt, first_byte: int) -> bytes:
    num_frames = len(excerpt.packets)
    mvhd = _full(
        b"mvhd",
        struct.pack(">4I", 0, 0, _TICKS, num_frames),
        struct.pack(">IHHQ", 0x10000, 0x100, 0, 0),
        _MATRIX,
        bytes(24),
        _one(2),
    )
    size = struct.pack(">II", excerpt.width << 16, excerpt.height << 16)
    tkhd = _full(
        b"tkhd", struct.pack(">5I", 0, 0, 1, 0, num_frames), bytes(16), _MATRIX, size, flags=3
    )
    mdhd = _full(b"mdhd", struct.pack(">4IHH", 0, 0, _TICKS, num_frames, 0x55C4, 0))
    hdlr = _full(b"hdlr", struct.pack(">I4s12x", 0, b"vide"), b"VideoHandler\0")
    dinf = _box(b"dinf", _full(b"dref", _one(1), _full(b"url ", flags=1)))
    minf = _box(b"minf", _full(b"vmhd", bytes(8), flags=1), dinf, _stbl(excerpt, first_byte))
    return _box(b"moov", mvhd, _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf)))


def _stbl(excerpt: PacketExcerpt, first_byte: int) -> bytes:
    num_frames = len(excerpt.packets)
    entry = _box(
        b"avc1",
        struct.pack(">6xH16xHH", 1, excerpt.width, excerpt.height),
        struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1),
        _box(b"avcC", excerpt.extradata),
    )
    rank_of = excerpt.display_ranks()
    # Frame i in decode order is decoded at tick i and shown at its display rank plus a constant,
    # so that no frame is shown before it is decoded.
    leads = [i - rank_of[frame] for i, frame in enumerate(excerpt.display)]
    latest = max(leads)
    runs = [number for lead in leads for number in (1, latest - lead)]
    sizes = list(map(len, excerpt.packets))
    return _box(
        b"stbl",
        _full(b"stsd", _one(1), entry),
        _full(b"stts", struct.pack(">3I", 1, num_frames, 1)),
        _full(b"stss", struct.pack(">2I", 1, 1)),
        _full(b"ctts", struct.pack(f">I{2 * num_frames}I", num_frames, *runs)),
        _full(b"stsc", struct.pack(">4I", 1, 1, num_frames, 1)),
        _full(b"stsz", struct.pack(f">2I{num_frames}I", 0, num_frames, *sizes)),
        _full(b"stco", struct.pack(">2I", 1, first_byte)),
    )


def _box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    """A box with a version (0) and flags."""
    return _box(kind, struct.pack(">I", flags), *parts)


def _one(number: int) -> bytes:
    return struct.pack(">I", number)
