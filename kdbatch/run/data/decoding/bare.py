"""PyAV on bare packets: no container is opened. The fastest way to read a stored video, and the
default.
"""

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

from kdbatch.run.data.decoding.excerpt import DamagedVideoError, Excerpt, PutFrame, read_excerpt
from kdbatch.vocab.shards import Sample

_RGB: Any = VideoFormat(
    "rgb24"
)  # by its name it would be looked up for every frame; the stubs of PyAV know names alone
_MAX_CONTEXTS = 8  # videos of one size and rate share a context; a data set has few of those


class _ContextPool(threading.local):
    """Contexts that have finished their last video, by decoder configuration. Opening one anew
    costs a twentieth of a clip.

    One set per thread, as a context serves one caller at a time.
    """

    def __init__(self) -> None:
        self.contexts: dict[bytes, VideoCodecContext] = {}
        self.convert = VideoReformatter()

    def take(self, extradata: bytes) -> VideoCodecContext:
        found = self.contexts.pop(extradata, None)
        if found is not None:
            return found
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1
        context.extradata = extradata
        return context

    def give_back(self, extradata: bytes, context: VideoCodecContext) -> None:
        context.flush_buffers()
        while len(self.contexts) >= _MAX_CONTEXTS:
            del self.contexts[next(iter(self.contexts))]  # the one that has waited longest
        self.contexts[extradata] = context


_POOL = _ContextPool()


def decode_with_pyav(tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Put the frames `wanted`.

    Raises:
        DamagedVideoError: a packet is damaged, or does not decode.
    """
    excerpt = read_excerpt(tar, sample, wanted)
    context = _POOL.take(excerpt.extradata)  # not given back after a failure
    try:
        _decode(excerpt, wanted, put, context)
    except FFmpegError as error:
        raise DamagedVideoError(f"it does not decode: {error.strerror}") from error
    _POOL.give_back(excerpt.extradata, context)


def _decode(
    excerpt: Excerpt, wanted: Sequence[int], put: PutFrame, context: VideoCodecContext
) -> None:
    places: dict[int, list[int]] = {}
    for place, frame in enumerate(wanted):
        places.setdefault(frame, []).append(place)
    convert = _POOL.convert
    for packet in [
        *map(_packet, excerpt.packets, excerpt.display),
        None,
    ]:  # None asks the decoder for what it still holds
        for frame in context.decode(packet):
            asked = places.pop(-1 if frame.pts is None else frame.pts, ())
            if asked:
                pixel_HWC = _pixels(convert.reformat(frame, format=_RGB, threads=1))
                for place in asked:
                    put(place, pixel_HWC)
    if places:
        raise DamagedVideoError(f"frame {min(places)} could not be decoded")


def _packet(data: memoryview, display: int) -> av.Packet:
    packet = av.Packet(data)  # pyright: ignore[reportArgumentType] - takes any buffer, its stubs say bytes
    packet.pts = display
    return packet


def _pixels(frame: VideoFrame) -> np.ndarray:
    """A view of the frame's memory without the bytes that pad its rows; `to_ndarray` would copy."""
    plane = frame.planes[0]
    shape, strides = (frame.height, frame.width, 3), (plane.line_size, 3, 1)
    return np.ndarray(shape, np.uint8, plane, 0, strides)  # pyright: ignore[reportArgumentType] - planes are buffers, their stubs forget it
