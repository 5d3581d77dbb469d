"""Frames of stored videos. Axes: N wanted frames, H rows, W columns, C = 3 colours; uint8 NHWC, in the order in which they were asked for.

A decoder reads from the tar what it needs and nothing else; no torch here, so that reading can be tested and timed without it.
"""

import io
import os
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import av
import decord
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter

from kdbatch.vocab.errors import UserError
from kdbatch.vocab.packets import Packet, unpack_index
from kdbatch.vocab.pick import pick
from kdbatch.vocab.shards import Sample


class _Damaged(Exception):
    """What was read is not what was stored; the message says how it showed."""


def decode_frames(tar: Path, sample: Sample, wanted: Sequence[int], *, decoder: str) -> np.ndarray:
    """Frames `wanted` (display order, from 0; any order, repeats allowed) of a stored video, uint8 NHWC.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    assert all(0 <= frame < sample.num_frames for frame in wanted), (sample.key, sample.num_frames, wanted)
    decode = pick(DECODERS, decoder, where="decoder")
    if not len(wanted):
        return np.empty((0, sample.height, sample.width, 3), np.uint8)
    try:
        return decode(tar, sample, wanted)
    except (_Damaged, OSError, ValueError, FFmpegError, decord.DECORDError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise UserError(
            f"{tar}: {sample.key} cannot be read ({reason}). Make the shard again: rm {tar}, then the kdbatch shard command that made it."
        ) from error


def select_packets(packets: Sequence[Packet], wanted: Iterable[int]) -> list[Packet]:
    """The packets that must be decoded to see the frames `wanted`, in decode order.

    Groups of pictures are closed. So in each group with a wanted frame: all up to the last wanted one, less those that are
    neither wanted nor needed by others.
    """
    place_of = {packet.display: place for place, packet in enumerate(packets)}
    keys = [place for place, packet in enumerate(packets) if packet.is_key]
    wanted = set(wanted)
    last_of_group: dict[int, int] = {}
    for place in sorted(place_of[frame] for frame in wanted):
        last_of_group[keys[bisect_right(keys, place) - 1]] = place
    return [
        packet
        for key, last in last_of_group.items()
        for packet in packets[key : last + 1]
        if packet.is_needed_by_others or packet.display in wanted
    ]


def _decode_packets(tar: Path, sample: Sample, wanted: Sequence[int]) -> np.ndarray:
    """Bare packets into a codec context: no container is opened, and frames that nobody wants or needs are not read."""
    with tar.open("rb", buffering=0) as file:
        packets = unpack_index(_pread(file.fileno(), sample.index_bytes, sample.index_offset))
        if sorted(packet.display for packet in packets) != list(range(sample.num_frames)) or not packets[0].is_key:
            raise _Damaged("its packet index is damaged")
        chosen = select_packets(packets, wanted)
        start = min(packet.offset for packet in chosen)
        end = max(packet.offset + packet.size for packet in chosen)
        if end > sample.num_bytes:
            raise _Damaged("its packet index is damaged")
        data = _pread(file.fileno(), end - start, sample.offset + start)
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, VideoCodecContext)
    context.thread_count = 1
    context.extradata = bytes.fromhex(sample.extradata)
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(wanted):
        places.setdefault(frame, []).append(place)
    frame_NHWC = np.empty((len(wanted), sample.height, sample.width, 3), np.uint8)
    convert = VideoReformatter()
    for packet in [*chosen, None]:
        for frame in context.decode(_av_packet(packet, data, start) if packet else None):
            for place in places.pop(frame.pts if frame.pts is not None else -1, ()):
                frame_NHWC[place] = convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
    if places:
        raise _Damaged(f"frame {min(places)} could not be decoded")
    return frame_NHWC


def _av_packet(packet: Packet, data: bytes, start: int) -> av.Packet:
    coded = av.Packet(data[packet.offset - start : packet.offset - start + packet.size])
    coded.pts = packet.display
    return coded


def _decode_with_decord(tar: Path, sample: Sample, wanted: Sequence[int]) -> np.ndarray:
    """The whole stored file, checked, in memory. The reader is used once and dropped: idle ones go on decoding ahead."""
    with tar.open("rb", buffering=0) as file:
        mp4 = _pread(file.fileno(), sample.num_bytes, sample.offset)
    if zlib.crc32(mp4) != sample.crc32:
        raise _Damaged("its checksum is wrong")
    reader = decord.VideoReader(io.BytesIO(mp4), num_threads=1)
    return reader.get_batch(list(wanted)).asnumpy()


def _pread(file: int, num_bytes: int, offset: int) -> bytes:
    data = os.pread(file, num_bytes, offset)
    if len(data) != num_bytes:
        raise _Damaged("the tar is cut short")
    return data


DECODERS: Mapping[str, Callable[[Path, Sample, Sequence[int]], np.ndarray]] = {
    "pyav": _decode_packets,
    "decord": _decode_with_decord,
}
