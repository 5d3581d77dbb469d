"""Read requests for clips of one video, and the reader that carries them out.

Decode workers import this module, so it must stay free of torch. The crop of each clip and its
offset in the batch are fixed in the request: any process gives the same bytes.

Axes: V clips of a video, N distinct frames, T frames of a clip, H, W, C=3.
"""

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdbatch.run.data.decoding.decode import check_decoder, decode_each
from kdbatch.run.data.decoding.excerpt import PutFrame
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.decoding.yuv import iterate_rgb
from kdbatch.vocab.shards.index import Sample

Box = tuple[int, int, int, int]
"""Top, left, height, width in stored pixels."""


@dataclass(frozen=True, kw_only=True)
class ReadRequest:
    """`frames` of a video are each decoded once. Clip v consists of `frames[i]` for each i of
    `frame_ranks[v]`, cropped to `boxes[v]`, and is written from byte `offsets[v]` of its batch on.
    """

    tar: Path
    sample: Sample
    frames: Sequence[int]
    frame_ranks: Sequence[Sequence[int]]
    boxes: Sequence[Box]
    offsets: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Reads stored videos with one decoder (a key of `decode.DECODERS`), through a frame cache if
    there is one.

    Raises:
        UserError: the decoder is not installed.
    """

    decoder: str
    cache: FrameCache | None = None

    def __post_init__(self) -> None:
        check_decoder(self.decoder)

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> "ClipReader":
        """The reader that another process has described by `to_arguments`."""
        decoder, *cache = arguments
        return cls(decoder=decoder, cache=FrameCache.from_arguments(cache) if cache else None)

    def to_arguments(self) -> tuple[str, ...]:
        """Command-line arguments that describe this reader to a worker process."""
        return (self.decoder, *(self.cache.to_arguments() if self.cache else ()))

    def read_frames(self, tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
        """Call `put(i, frame_HWC)` for each i-th frame of `wanted`, in any order.

        Raises:
            UserError: the tar is missing or damaged at this video.
        """
        frame_NIW = self._cached_frames(tar, sample, wanted)
        if frame_NIW is None:
            decode_each(tar, sample, wanted, put, decoder=self.decoder)
            return
        for rank, frame_HWC in enumerate(iterate_rgb(frame_NIW)):
            put(rank, frame_HWC)

    def _cached_frames(self, tar: Path, sample: Sample, wanted: Sequence[int]) -> np.ndarray | None:
        """Frames in YUV 4:2:0 (NIW); None where the cache cannot hold the video."""
        cache = self.cache
        if cache is None or not len(wanted) or not cache.accepts(sample):
            return None
        frame_NIW = cache.read(sample, wanted)
        if frame_NIW is None and cache.add(tar, sample):
            frame_NIW = cache.read(sample, wanted)
        return frame_NIW

    def read_clips(self, request: ReadRequest, memory: np.ndarray) -> None:
        """Write the clips of a request to `memory` (flat, uint8), each as THWC.

        Raises:
            UserError: the tar is missing or damaged at this video.
        """
        destinations = _destinations(request, memory)

        def put(rank: int, frame_HWC: np.ndarray) -> None:
            for pixel_HWC, (top, left, height, width) in destinations[rank]:
                pixel_HWC[...] = frame_HWC[top : top + height, left : left + width]

        self.read_frames(request.tar, request.sample, request.frames, put)


def _destinations(request: ReadRequest, memory: np.ndarray) -> list[list[tuple[np.ndarray, Box]]]:
    """For each distinct frame the pixels of `memory` that it is written to, with the crop to take.
    One frame may be part of several clips, and appear several times in one.
    """
    destinations: list[list[tuple[np.ndarray, Box]]] = [[] for _ in request.frames]
    clips = zip(request.frame_ranks, request.boxes, request.offsets, strict=True)
    for rank_T, box, offset in clips:
        _, _, height, width = box
        flat = memory[offset : offset + clip_bytes(len(rank_T), box)]
        clip_THWC = flat.reshape(len(rank_T), height, width, 3)
        for pixel_HWC, rank in zip(clip_THWC, rank_T, strict=True):
            destinations[rank].append((pixel_HWC, box))
    return destinations


def clip_bytes(num_frames: int, box: Box) -> int:
    return num_frames * box[2] * box[3] * 3


def pack_requests(requests: Sequence[ReadRequest]) -> bytes:
    """Bytes for a worker of this process, in a fifth of the time of JSON."""
    return marshal.dumps(
        [{**vars(r), "tar": str(r.tar), "sample": vars(r.sample)} for r in requests]
    )


def unpack_requests(raw: bytes) -> list[ReadRequest]:
    return [
        ReadRequest(**{**r, "tar": Path(r["tar"]), "sample": Sample(**r["sample"])})
        for r in marshal.loads(raw)
    ]
