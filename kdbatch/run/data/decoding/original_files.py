"""Decodes videos that were stored without being transcoded: by decord, or by PyAV without it.

decord has no wheel for aarch64. It returns damaged frames of open groups of pictures, does not know
mirrored pictures, and may take a cover for the video, so PyAV decodes such files everywhere.
Otherwise both give the same frames. Colours of MPEG-4 part 2 (AVI)
differ by at most 2 of 255: the FFmpeg inside decord computes the inverse transform differently.
"""

import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from kdbatch.base.pyav import UPRIGHT, main_video, orientation_of, tolerant_open
from kdbatch.run.data.decoding.bare import ranks_by_frame, rgb_view
from kdbatch.run.data.decoding.excerpt import DamagedVideoError, PutFrame, read_range
from kdbatch.run.data.decoding.files import HAS_DECORD, read_with_decord
from kdbatch.vocab.shards.index import Sample

_open = tolerant_open(av.open, av.__version__)


def decode_original(tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` of an original in a tar and pass each to `put`.

    It has no index and may have any codec, so the whole file is read and opened.
    """
    decode_file(read_range(tar, sample.num_bytes, sample.offset), sample, wanted, put)


def decode_file(data: bytes, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` of an original whose bytes are `data` and pass each to `put`.

    Raises:
        DamagedVideoError: these are not the bytes that were stored, or they do not decode.
    """
    if zlib.crc32(data) != sample.crc32:
        raise DamagedVideoError("its checksum is wrong")
    try:
        with _open(io.BytesIO(data), "r") as container:
            stream = main_video(container.streams.video, best=container.streams.best("video"))
            if stream is None:
                raise DamagedVideoError("it holds no video stream")
            stream.codec_context.thread_count = 1
            packets = [packet for packet in container.demux(stream) if packet.size]
            if len(packets) != sample.num_frames:
                message = f"PyAV finds {len(packets)} frames, {sample.num_frames} are there"
                raise DamagedVideoError(message)
            is_only_video = len(container.streams.video) == 1
            if not (HAS_DECORD and is_only_video and _suits_decord(stream, packets)):
                _read_with_pyav(stream, packets, wanted, put)
                return
    except FFmpegError as error:
        raise DamagedVideoError(f"it does not decode: {error.strerror}") from error
    read_with_decord(data, wanted, put, num_frames=sample.num_frames)


def _suits_decord(stream: VideoStream, packets: Sequence[Packet]) -> bool:
    """Whether decord shows this video as a player does, with every frame whole.

    It knows four of the eight orientations, and only where the file's header states them. Among
    several streams it may pick a cover.
    """
    if not _has_closed_groups(packets):
        return False
    decoder = stream.codec_context
    shown = next((frame for packet in packets for frame in decoder.decode(packet)), None)
    decoder.flush_buffers()
    return shown is not None and orientation_of(shown) == UPRIGHT


def _has_closed_groups(packets: Sequence[Packet]) -> bool:
    """Whether no frame is shown before the key frame that its packet follows.

    decord starts at that key frame and gives such a frame without its references, damaged.
    """
    key_time = None
    for packet in packets:
        if packet.is_keyframe:
            key_time = packet.pts
        elif key_time is not None and packet.pts is not None and packet.pts < key_time:
            return False
    return True


def _read_with_pyav(
    stream: VideoStream, packets: Sequence[Packet], wanted: Sequence[int], put: PutFrame
) -> None:
    ranks_of, reformatter = ranks_by_frame(wanted), VideoReformatter()
    for number, frame in _numbered_frames(stream, packets, first=min(wanted)):
        if ranks := ranks_of.pop(number, ()):
            # As a player shows it: cameras store pictures on their side.
            pixel_HWC = orientation_of(frame).apply(rgb_view(reformatter, frame))
            for rank in ranks:
                put(rank, pixel_HWC)
            if not ranks_of:
                return
    raise DamagedVideoError(f"frame {min(ranks_of)} could not be decoded")


def _numbered_frames(
    stream: VideoStream, packets: Sequence[Packet], *, first: int
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers in display order, from the last key frame before `first` on.

    Numbers come from time stamps. Without them, as in some AVIs, frames are shown in the order of
    their packets: a file with B-frames and no times is not stored (shard/originals.py).
    """
    times = [packet.pts for packet in packets if packet.pts is not None]
    has_times = len(set(times)) == len(packets)
    number_of = {time: number for number, time in enumerate(sorted(times))} if has_times else {}

    def number(position: int) -> int:
        time = packets[position].pts
        return number_of[time] if has_times and time is not None else position

    keys = (i for i, packet in enumerate(packets) if packet.is_keyframe and number(i) <= first)
    start = max(keys, default=0)
    count = start
    for packet in [*packets[start:], None]:  # None flushes the decoder
        for frame in stream.codec_context.decode(packet):
            found = number_of.get(-1 if frame.pts is None else frame.pts, -1)
            yield (found if has_times else count), frame
            count += 1
