"""One video becomes a small H.264 mp4 made for random access, and an index of its packets.

Short side 128, no sound, closed groups of 16 frames, one B-frame between every two P-frames.
B-frames are never referenced, so every other frame can be left out when a clip is read
(vocab/packet_index.py says which). No CABAC and no deblocking: cheap to decode.
"""

import io
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from kdbatch.shard.source_video import (
    NO_SPACE_ERRNOS,
    inspect_video,
    open_video,
    to_constant_rate,
    translate_decode_errors,
)
from kdbatch.shard.stored import BrokenVideo, EncodedVideo, HostError
from kdbatch.vocab.packet_index import MAX_FRAMES, Packet, pack_index, packet_checksum, packet_flags

SHORT_SIDE = 128
INTERPOLATION = Interpolation.BICUBIC
X264 = {
    "preset": "medium",
    "tune": "fastdecode",
    "crf": "22.5",
    "g": "16",
    "threads": "1",
    # bframes fixed at one between P-frames and never a reference; no keyframe off the grid of 16.
    # cpu-independent: without it the AVX-512 code of macroblock-tree rate control gives other bytes
    # now and then, even in one process.
    # No bits for what the eye likes (psy, aq), some more for colour: 0.4 dB of RGB better for equal
    # bytes.
    "x264-params": "bframes=1:b-adapt=0:b-pyramid=none:scenecut=0:cpu-independent=1:psy=0:aq-mode=0:chroma-qp-offset=-6",
    "flags": "+bitexact",
}


def transcode(path: Path) -> EncodedVideo:
    """Decode every frame once, in order, and encode it; equal input gives equal bytes.

    Raises:
        BrokenVideo: missing, empty, no video, damaged anywhere, a single picture, or longer than
        the index can number. MachineTrouble: no room for a file of the video's size where temporary
        files go. OSError: another of the machine's troubles.
    """
    with _temporary_folder() as folder:  # the muxer rewrites a finished file to put its head first
        out = folder / "video.mp4"
        with translate_decode_errors():
            footage = inspect_video(path)
            with open_video(path) as (source, stream):
                _encode(to_constant_rate(source.decode(stream), footage), out, footage.rate)
        video = out.read_bytes()
        packets, extradata, width, height = _read_packets(out)
    num_frames = len(packets)
    if sorted(packet.display_index for packet in packets) != list(range(num_frames)):
        raise BrokenVideo("its frames could not be put in order")
    return EncodedVideo(
        video=video,
        container="mp4",
        index=pack_index(packets),
        extradata=extradata,
        num_frames=num_frames,
        fps=float(footage.rate),
        source_fps=float(footage.source_rate),
        width=width,
        height=height,
    )


def count_frames(video: bytes) -> int:
    """Decode a whole stored video.

    Raises:
        BrokenVideo: it is damaged.
    """
    with (
        translate_decode_errors(),
        av.open(io.BytesIO(video), "r", metadata_errors="ignore") as container,
    ):
        container.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in container.decode(video=0))


@contextmanager
def _temporary_folder() -> Generator[Path, None, None]:
    """A folder for temporary files."""
    try:
        with tempfile.TemporaryDirectory(prefix="kdbatch-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in NO_SPACE_ERRNOS:
            raise
        told = f"temporary files cannot be written ({error.strerror}); TMPDIR can name another folder for them"
        raise HostError(error.errno, told, tempfile.gettempdir()) from None


def _encode(frames: Iterator[VideoFrame], out_path: Path, rate: Fraction) -> None:
    with av.open(
        str(out_path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}
    ) as out:
        count = _copy_frames(frames, out, rate)
    if count < 2:
        raise BrokenVideo(
            "holds one frame, which is a picture" if count else "holds no frame that can be decoded"
        )


def _copy_frames(frames: Iterator[VideoFrame], out: OutputContainer, rate: Fraction) -> int:
    stream, scaler, count = None, VideoReformatter(), 0
    width = height = 0
    for frame in frames:
        turns = quarter_turns(frame)
        if stream is None:
            width, height = output_size(
                *((frame.height, frame.width) if turns % 2 else (frame.width, frame.height))
            )
            stream = out.add_stream("libx264", rate=rate, options=X264)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = 1 / rate
        small = scale_frame(
            scaler,
            frame,
            width=height if turns % 2 else width,
            height=width if turns % 2 else height,
        )
        # A bare copy: no side data, no tags, no picture type.
        small = VideoFrame.from_ndarray(
            _rotate_planes(small.to_ndarray(), turns, width=width, height=height), format="yuv420p"
        )
        small.pts, small.time_base = count, 1 / rate
        count += 1
        if count > MAX_FRAMES:
            raise BrokenVideo(f"has more than {MAX_FRAMES} frames")
        out.mux(stream.encode(small))
    if stream is not None:
        out.mux(stream.encode(None))
    return count


def scale_frame(
    scaler: VideoReformatter, frame: VideoFrame, *, width: int, height: int
) -> VideoFrame:
    """In YUV 4:2:0, with one colour matrix and range for all, as the stored file carries no tags:
    every decoder takes BT.601, limited.
    """
    return scaler.reformat(
        frame,
        width,
        height,
        "yuv420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        interpolation=INTERPOLATION,
        threads=1,
    )


def quarter_turns(frame: VideoFrame) -> int:
    """How often, counter-clockwise, the picture must be turned to be upright."""
    return round(frame.rotation / 90) % 4


def _rotate_planes(planes: np.ndarray, turns: int, *, width: int, height: int) -> np.ndarray:
    """A YUV 4:2:0 picture as a player shows it: phones store lying pictures and an angle (quarter
    turns, counter-clockwise) beside them.

    The rows of the three planes lie one after the other; `width` and `height` are those of the
    upright picture.
    """
    if not turns:
        return planes
    flat, luma, chroma = planes.reshape(-1), width * height, width * height // 4
    upright = []
    for start, size, shrink in ((0, luma, 1), (luma, chroma, 2), (luma + chroma, chroma, 2)):
        shape = (
            (width // shrink, height // shrink)
            if turns % 2
            else (height // shrink, width // shrink)
        )
        upright.append(np.rot90(flat[start : start + size].reshape(shape), turns).reshape(-1))
    return np.concatenate(upright).reshape(height * 3 // 2, width)


def output_size(width: int, height: int) -> tuple[int, int]:
    """The size with short side 128 and the long side the nearest even number."""
    short, long = sorted((width, height))
    scaled = max(SHORT_SIDE, round(long * SHORT_SIDE / short / 2) * 2)
    return (scaled, SHORT_SIDE) if width > height else (SHORT_SIDE, scaled)


def _read_packets(path: Path) -> tuple[list[Packet], bytes, int, int]:
    """Packets in decode order, decoder configuration, width and height of a file that was just
    written.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        coded = [packet for packet in container.demux(stream) if packet.size]
        place = {pts: i for i, pts in enumerate(sorted(packet.pts or 0 for packet in coded))}
        packets = []
        for packet in coded:
            flags = packet_flags(is_key=packet.is_keyframe, nal_ref_idc=_nal_ref_idc(bytes(packet)))
            packets.append(
                Packet(
                    packet.pos or 0,
                    packet.size,
                    place[packet.pts or 0],
                    flags,
                    packet_checksum(bytes(packet)),
                )
            )
        return packets, bytes(stream.codec_context.extradata or b""), stream.width, stream.height


def _nal_ref_idc(packet: bytes) -> int:
    """Of the first picture slice: NAL types 1 and 5, ITU-T H.264 table 7-1; units have a length of
    4 bytes in front (avcC).
    """
    place = 0
    while place + 4 < len(packet):
        if packet[place + 4] & 31 in (1, 5):
            return packet[place + 4] >> 5 & 3
        place += 4 + int.from_bytes(packet[place : place + 4], "big")
    raise BrokenVideo("a packet holds no picture")
