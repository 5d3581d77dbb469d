"""One video becomes a small H.264 mp4 made for random access, and an index of its packets.

Short side 128, no sound, closed groups of 16 frames, one B-frame between every two P-frames. B-frames are never referenced, so every
other frame can be left out when a clip is read (vocab/packets.py says which). No CABAC and no deblocking: cheap to decode.
"""

import io
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from kdbatch.vocab.packets import MAX_FRAMES, Packet, pack_index, packet_flags

ENCODING = "h264 short128 g16 b1 crf20 v1"
SHORT_SIDE = 128
_X264 = {
    "preset": "medium",
    "tune": "fastdecode",
    "crf": "20",
    "g": "16",
    "threads": "1",
    # bframes fixed at one between P-frames and never a reference; no keyframe off the grid of 16.
    # cpu-independent: without it the AVX-512 code of macroblock-tree rate control gives other bytes now and then, even in one process.
    "x264-params": "bframes=1:b-adapt=0:b-pyramid=none:scenecut=0:cpu-independent=1",
    "flags": "+bitexact",
}


class BrokenVideo(Exception):
    """A video that cannot be stored; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A transcoded video. `extradata` is the decoder configuration (avcC) without which bare packets cannot be decoded."""

    mp4: bytes
    index: bytes
    extradata: bytes
    num_frames: int
    fps: float
    width: int
    height: int


def transcode(path: Path) -> Stored:
    """Decode every frame once, in order, and encode it; equal input gives equal bytes.

    Raises:
        BrokenVideo: missing, empty, no video, damaged anywhere, or longer than the index can number.
    """
    with tempfile.TemporaryDirectory(prefix="kdbatch-") as folder:  # the muxer rewrites a finished file to put its head first
        out = Path(folder) / "video.mp4"
        with _reasons():
            if path.stat().st_size == 0:
                raise BrokenVideo("empty file (0 bytes)")
            fps = _encode(path, out)
        mp4 = out.read_bytes()
        packets, extradata, width, height = _scan(out)
    num_frames = len(packets)
    if sorted(packet.display for packet in packets) != list(range(num_frames)):
        raise BrokenVideo("its frames could not be put in order")
    return Stored(
        mp4=mp4, index=pack_index(packets), extradata=extradata, num_frames=num_frames, fps=float(fps), width=width, height=height
    )


def count_frames(mp4: bytes) -> int:
    """Decode a whole stored video.

    Raises:
        BrokenVideo: it is damaged.
    """
    with _reasons(), av.open(io.BytesIO(mp4), "r") as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


@contextmanager
def _reasons() -> Generator[None, None, None]:
    """Failures inside libav as one line for a person."""
    try:
        yield
    except FFmpegError as error:
        raise BrokenVideo(f"cannot be decoded: {error.strerror}") from error
    except OSError as error:
        raise BrokenVideo(f"cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise BrokenVideo(f"cannot be decoded: {error or type(error).__name__}") from error


def _encode(source_path: Path, out_path: Path) -> Fraction:
    """Write `out_path`; returns its frame rate, the source's average."""
    with av.open(str(source_path), metadata_errors="ignore") as source:
        if not source.streams.video:
            raise BrokenVideo("holds no video stream")
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        rate = _rate(stream.average_rate, stream.base_rate, stream.guessed_rate)
        with av.open(str(out_path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out:
            count = _copy_frames(source.decode(stream), out, rate)
    if not count:
        raise BrokenVideo("holds no frame that can be decoded")
    return rate


def _copy_frames(frames: Iterator[VideoFrame], out: OutputContainer, rate: Fraction) -> int:
    stream, scaler, count = None, VideoReformatter(), 0
    width = height = 0
    for frame in frames:
        frame = _upright(frame)
        if stream is None:
            width, height = small_size(frame.width, frame.height)
            stream = out.add_stream("libx264", rate=rate, options=_X264)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = 1 / rate
        # One colour matrix and range for all, as the stored file carries no tags: every decoder takes BT.601, limited range.
        small = scaler.reformat(
            frame,
            width,
            height,
            "yuv420p",
            dst_colorspace=Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )
        small = VideoFrame.from_ndarray(small.to_ndarray(), format="yuv420p")  # a bare copy: no side data, no tags, no picture type
        small.pts, small.time_base = count, 1 / rate
        count += 1
        if count > MAX_FRAMES:
            raise BrokenVideo(f"has more than {MAX_FRAMES} frames")
        out.mux(stream.encode(small))
    if stream is not None:
        out.mux(stream.encode(None))
    return count


def small_size(width: int, height: int) -> tuple[int, int]:
    """The size with short side 128 and the long side the nearest even number."""
    short, long = sorted((width, height))
    scaled = max(SHORT_SIDE, round(long * SHORT_SIDE / short / 2) * 2)
    return (scaled, SHORT_SIDE) if width > height else (SHORT_SIDE, scaled)


def _upright(frame: VideoFrame) -> VideoFrame:
    """The frame as a player shows it; phones store turned pictures and an angle (counter-clockwise) beside them."""
    turns = round(frame.rotation / 90) % 4
    if not turns:
        return frame
    picture_HW3 = np.rot90(frame.to_ndarray(format="rgb24"), turns)
    return VideoFrame.from_ndarray(np.ascontiguousarray(picture_HW3, dtype=np.uint8), format="rgb24")


def _rate(*candidates: Fraction | None) -> Fraction:
    """The first plausible frame rate: containers without one say 0, or the ticks of their clock."""
    for rate in candidates:
        if rate is not None and 1 <= rate <= 240:
            return Fraction(rate).limit_denominator(1001)
    raise BrokenVideo("its frame rate is not known")


def _scan(path: Path) -> tuple[list[Packet], bytes, int, int]:
    """Packets in decode order, decoder configuration, width and height of a file that was just written."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        coded = [packet for packet in container.demux(stream) if packet.size]
        place = {pts: i for i, pts in enumerate(sorted(packet.pts or 0 for packet in coded))}
        packets = []
        for packet in coded:
            flags = packet_flags(is_key=packet.is_keyframe, nal_ref_idc=_nal_ref_idc(bytes(packet)))
            packets.append(Packet(packet.pos or 0, packet.size, place[packet.pts or 0], flags))
        return packets, bytes(stream.codec_context.extradata or b""), stream.width, stream.height


def _nal_ref_idc(packet: bytes) -> int:
    """Of the first picture slice: NAL types 1 and 5, ITU-T H.264 table 7-1; units have a length of 4 bytes in front (avcC)."""
    place = 0
    while place + 4 < len(packet):
        if packet[place + 4] & 31 in (1, 5):
            return packet[place + 4] >> 5 & 3
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    raise BrokenVideo("a packet holds no picture")
