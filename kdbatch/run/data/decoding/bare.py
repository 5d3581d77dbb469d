"""The default decoder, and the fastest: PyAV on bare packets, without opening a container."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from kdbatch.run.data.decoding.excerpt import (
    DamagedVideoError,
    PacketExcerpt,
    PutFrame,
    read_excerpt,
)
from kdbatch.vocab.shards.index import Sample

# A name would be looked up again for every frame; PyAV's stubs accept names only.
_RGB: Any = VideoFormat("rgb24")
_MAX_CONTEXTS = 8  # videos of one size and rate share a context; a data set has few of those


class _ContextPool(threading.local):
    """Idle codec contexts by decoder configuration: opening one costs a twentieth of a clip.

    Each thread has its own pool, as a context serves one caller at a time.
    """

    def __init__(self) -> None:
        self.contexts: dict[bytes, VideoCodecContext] = {}
        self.reformatter = VideoReformatter()

    def take(self, extradata: bytes) -> VideoCodecContext:
        idle = self.contexts.pop(extradata, None)
        if idle is not None:
            return idle
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1
        context.extradata = extradata
        return context

    def give_back(self, extradata: bytes, context: VideoCodecContext) -> None:
        context.flush_buffers()
        while len(self.contexts) >= _MAX_CONTEXTS:
            del self.contexts[next(iter(self.contexts))]  # the least recently used
        self.contexts[extradata] = context


_POOL = _ContextPool()


def decode_with_pyav(tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` and pass each to `put`.

    Raises:
        DamagedVideoError: a packet is damaged, or does not decode.
    """
    decode_excerpt(read_excerpt(tar, sample, wanted), wanted, put)


def decode_excerpt(excerpt: PacketExcerpt, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` from their packets and pass each to `put`.

    Raises:
        DamagedVideoError: a packet does not decode.
    """
    context = _POOL.take(excerpt.extradata)  # not given back after a failure
    try:
        _decode(excerpt, wanted, put, context)
    except FFmpegError as error:
        raise DamagedVideoError(f"it does not decode: {error.strerror}") from error
    _POOL.give_back(excerpt.extradata, context)


def _decode(
    excerpt: PacketExcerpt, wanted: Sequence[int], put: PutFrame, context: VideoCodecContext
) -> None:
    ranks_of = ranks_by_frame(wanted)
    packets = map(_packet, excerpt.packets, excerpt.display)
    for packet in [*packets, None]:  # None flushes the decoder
        for frame in context.decode(packet):
            ranks = ranks_of.pop(-1 if frame.pts is None else frame.pts, ())
            if ranks:
                pixel_HWC = rgb_view(_POOL.reformatter, frame)
                for rank in ranks:
                    put(rank, pixel_HWC)
    if ranks_of:
        raise DamagedVideoError(f"frame {min(ranks_of)} could not be decoded")


def _packet(data: memoryview, display: int) -> av.Packet:
    packet = av.Packet(data)  # pyright: ignore[reportArgumentType] - any buffer; stubs say bytes
    packet.pts = display
    return packet


def ranks_by_frame(wanted: Sequence[int]) -> dict[int, list[int]]:
    """The positions of each frame among the wanted ones."""
    ranks_of: dict[int, list[int]] = {}
    for rank, frame in enumerate(wanted):
        ranks_of.setdefault(frame, []).append(rank)
    return ranks_of


def rgb_view(reformatter: VideoReformatter, frame: VideoFrame) -> np.ndarray:
    """The frame in RGB (HWC): a view of the reformatter's memory without the padding of its rows.

    `to_ndarray` would copy.
    """
    rgb = reformatter.reformat(frame, format=_RGB, threads=1)
    plane: Any = rgb.planes[0]  # a buffer, which PyAV's stubs do not declare
    return np.ndarray((rgb.height, rgb.width, 3), np.uint8, plane, 0, (plane.line_size, 3, 1))
