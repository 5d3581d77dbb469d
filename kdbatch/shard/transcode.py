"""Transcodes one video to a small H.264 mp4 made for random access, and indexes its packets.

Short side 128, square pixels, no sound, closed groups of 16 frames. Most frames are B-frames, drawn
at random, which no other frame refers to: those that a clip does not show can be left out when it
is read (vocab/packet_index.py has the flags). No CABAC and no deblocking: cheap to decode.
"""

import hashlib
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from kdbatch.base.pyav import UPRIGHT, Orientation, orientation_of
from kdbatch.base.reading.local_name import local_name
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.shard.source_video import (
    HOST_ERRNOS,
    NO_SPACE_ERRNOS,
    inspect_video,
    open_video,
    pixel_shape,
    to_constant_rate,
    translate_decode_errors,
)
from kdbatch.shard.stored import BrokenVideo, EncodedVideo, HostError, check_is_video
from kdbatch.vocab.packet_index import MAX_FRAMES, Packet, pack_index, packet_checksum, packet_flags

SHORT_SIDE = 128
_MAX_SIDE = 16_384  # x264, common/base.h: MAX_RESOLUTION
INTERPOLATION = Interpolation.BICUBIC
FRAMES_PER_GROUP = 16
_B_SHARE_256 = 208  # of 256: the more B-frames, the more can be left out, and the worse they are
_X264_PARAMS = (
    # B-frames are never a reference; no key frame off the grid of 16. The first and the last frame
    # of a group are none, so that 14 in a row are the most.
    "bframes=14:b-adapt=0:b-pyramid=none:scenecut=0:"
    # Otherwise the AVX-512 code of macroblock-tree rate control gives other bytes now and then,
    # even in one process.
    "cpu-independent=1:"
    # No bits for perceived quality (psy, aq), some more for colour: 0.4 dB of RGB better for equal
    # bytes.
    "psy=0:aq-mode=0:chroma-qp-offset=-6"
)
X264 = {
    "preset": "medium",
    "tune": "fastdecode",
    "crf": "22.25",
    "g": str(FRAMES_PER_GROUP),
    "threads": "1",
    "x264-params": _X264_PARAMS,
    "flags": "+bitexact",
}


class FrameTypes:
    """Draws the type of each frame of one video; equal videos have equal types.

    B-frames are smoother than P-frames. If the two alternated, clips of every frame would alternate
    in sharpness and clips of every second frame would not, which would tell the speed of a clip.
    Every n-th of independently drawn types is such a sequence again, whatever n is.
    Chance comes from the pictures, so that no two videos have the same sequence to learn.
    """

    def __init__(self) -> None:
        self._digest = b""

    def draw(self, number: int, frame: VideoFrame) -> PictureType:
        """The type of frame `number`; frames come in order, from 0."""
        place = number % FRAMES_PER_GROUP
        if place == 0:
            pixels = self._digest + frame.to_ndarray().tobytes()
            self._digest = hashlib.blake2b(pixels, digest_size=FRAMES_PER_GROUP).digest()
            return PictureType.I
        if place == FRAMES_PER_GROUP - 1:  # a closed group cannot end with a B-frame
            return PictureType.P
        return PictureType.B if self._digest[place] < _B_SHARE_256 else PictureType.P


def transcode(path: Path) -> EncodedVideo:
    """Decode every frame once, in order, and encode it; equal input gives equal bytes.

    Raises:
        BrokenVideo: the file is missing, empty, damaged anywhere, no video or a single picture, or
            has more frames than the index can number.
        HostError: the folder of temporary files has no space for a file of the video's size.
        OSError: another error of the machine.
    """
    # A file, not memory: the muxer rewrites a finished file to put its header first.
    with _temporary_folder() as folder:
        out = folder / "video.mp4"
        with translate_decode_errors():
            timing = inspect_video(path)
            with open_video(path) as (source, stream):
                frames = to_constant_rate(source.decode(stream), timing)
                _encode(frames, out, timing.rate, pixel_shape(stream))
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
        fps=float(timing.rate),
        source_fps=float(timing.source_rate),
        width=width,
        height=height,
    )


def count_frames(video: bytes) -> int:
    """Decode a whole stored video, which may be an original, and count its frames.

    Raises:
        BrokenVideo: it is damaged.
    """
    with translate_decode_errors(), open_video(video) as (container, stream):
        return sum(1 for _ in container.decode(stream))


@contextmanager
def _temporary_folder() -> Generator[Path, None, None]:
    try:
        with temporary_folder("transcode") as folder:
            yield folder
    except OSError as error:
        if error.errno not in NO_SPACE_ERRNOS:
            raise
        message = (
            f"temporary files cannot be written ({error.strerror}); "
            "TMPDIR can name another folder for them"
        )
        raise HostError(error.errno, message, tempfile.gettempdir()) from None


def _encode(frames: Iterator[VideoFrame], out_path: Path, rate: Fraction, shape: Fraction) -> None:
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(local_name(out_path), "w", format="mp4", options=options) as out:
        num_frames = _encode_frames(frames, out, rate, shape)
    check_is_video(num_frames)


def _encode_frames(
    frames: Iterator[VideoFrame], out: OutputContainer, rate: Fraction, shape: Fraction
) -> int:
    """Scale to square pixels, from pixels of `shape`, turn upright and encode all frames; return
    their number.
    """
    stream, scaler, types, num_frames = None, VideoReformatter(), FrameTypes(), 0
    width = height = 0
    for frame in frames:
        orientation = orientation_of(frame)
        if stream is None:
            width, height = _encodable_size(*orientation.size(frame.width * shape, frame.height))
            stream = out.add_stream("libx264", rate=rate, options=X264)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = 1 / rate
        scaled_width, scaled_height = orientation.size(width, height)
        with _encoding_errors("scaled"):
            scaled = scale_frame(scaler, frame, width=scaled_width, height=scaled_height)
        planes = _upright_planes(scaled.to_ndarray(), orientation, width=width, height=height)
        # A new frame has no side data and no tags of the original.
        plain = VideoFrame.from_ndarray(planes, format="yuv420p")
        plain.pts, plain.time_base = num_frames, 1 / rate
        plain.pict_type = types.draw(num_frames, plain)
        num_frames += 1
        if num_frames > MAX_FRAMES:
            raise BrokenVideo(f"has more than {MAX_FRAMES} frames")
        with _encoding_errors("encoded"):
            packets = stream.encode(plain)
        out.mux(packets)
    if stream is not None:
        with _encoding_errors("encoded"):
            packets = stream.encode(None)
        out.mux(packets)
    return num_frames


@contextmanager
def _encoding_errors(verb: str) -> Generator[None, None, None]:
    """Turn libav's error about a step after decoding into the reason why a video is not stored."""
    try:
        yield
    except FFmpegError as error:
        if error.errno in HOST_ERRNOS:
            raise
        raise BrokenVideo(f"was decoded, but cannot be {verb}: {error.strerror}") from error


def scale_frame(
    scaler: VideoReformatter, frame: VideoFrame, *, width: int, height: int
) -> VideoFrame:
    """Scale a frame and convert it to YUV 4:2:0, BT.601, limited range.

    Matrix and range are the same for all videos because the stored file carries no colour tags:
    every decoder then assumes these.
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


def _upright_planes(
    planes: np.ndarray, orientation: Orientation, *, width: int, height: int
) -> np.ndarray:
    """A YUV 4:2:0 picture as a player shows it.

    Phones store pictures as the sensor reads them, and front cameras mirrored. `planes` has the
    rows of the three planes one after the other; `width` and `height` are those of the upright
    picture.
    """
    if orientation == UPRIGHT:
        return planes
    flat, luma, chroma = planes.reshape(-1), width * height, width * height // 4
    upright = []
    for start, size, subsampling in ((0, luma, 1), (luma, chroma, 2), (luma + chroma, chroma, 2)):
        num_columns, num_rows = orientation.size(width // subsampling, height // subsampling)
        plane = flat[start : start + size].reshape(num_rows, num_columns)
        upright.append(orientation.apply(plane).reshape(-1))
    return np.concatenate(upright).reshape(height * 3 // 2, width)


def output_size(width: Fraction | int, height: Fraction | int) -> tuple[int, int]:
    """The stored size of a picture as it is shown, which has fractions of pixels where they are not
    square: short side 128, long side the nearest even number in proportion.
    """
    short, long = sorted((width, height))
    scaled = max(SHORT_SIDE, round(long * SHORT_SIDE / short / 2) * 2)
    return (scaled, SHORT_SIDE) if width > height else (SHORT_SIDE, scaled)


def _encodable_size(width: Fraction | int, height: Fraction | int) -> tuple[int, int]:
    """The stored size of a picture of `width` x `height`.

    Raises:
        BrokenVideo: it is longer than the encoder takes.
    """
    size = output_size(width, height)
    if max(size) > _MAX_SIDE:
        raise BrokenVideo(
            f"its pictures are {float(width):.6g}x{float(height):.6g}: with a short side of "
            f"{SHORT_SIDE} they have {size[0]}x{size[1]}, and the H.264 encoder takes at most "
            f"{_MAX_SIDE} a side"
        )
    return size


def _read_packets(path: Path) -> tuple[list[Packet], bytes, int, int]:
    """The packets in decode order, the decoder configuration, width and height of a new file."""
    with av.open(local_name(path)) as container:
        stream = container.streams.video[0]
        coded = [packet for packet in container.demux(stream) if packet.size]
        times = sorted(packet.pts or 0 for packet in coded)
        display_index = {time: index for index, time in enumerate(times)}
        packets = []
        for packet in coded:
            data = bytes(packet)
            packets.append(
                Packet(
                    offset=packet.pos or 0,
                    size=packet.size,
                    display_index=display_index[packet.pts or 0],
                    flags=packet_flags(is_key=packet.is_keyframe, nal_ref_idc=_nal_ref_idc(data)),
                    checksum=packet_checksum(data),
                )
            )
        return packets, bytes(stream.codec_context.extradata or b""), stream.width, stream.height


def _nal_ref_idc(packet: bytes) -> int:
    """The nal_ref_idc of the first picture slice (NAL types 1 and 5, ITU-T H.264 table 7-1).

    Each unit starts with its length in 4 bytes (avcC).
    """
    offset = 0
    while offset + 4 < len(packet):
        header = packet[offset + 4]
        if header & 31 in (1, 5):
            return header >> 5 & 3
        offset += 4 + int.from_bytes(packet[offset : offset + 4], "big")
    raise BrokenVideo("a packet holds no picture")
