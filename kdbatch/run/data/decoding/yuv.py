"""Frames in YUV 4:2:0: decoding a whole stored video to them, and their conversion to RGB.

Axes: N frames, I = the 3/2 H rows of a frame in I420 (H rows of luma, then both chroma planes of
half the size), W columns; uint8.
"""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from kdbatch.base.pyav import tolerant_open
from kdbatch.run.data.decoding.excerpt import DamagedVideoError
from kdbatch.vocab.shards.index import Sample

CHUNK_FRAMES = 4  # converted to RGB in one call: few enough to stay in the cache of a CPU core


def decode_to_yuv(tar: Path, sample: Sample) -> Iterator[np.ndarray]:
    """Every frame of a stored video, shape IW, from the first to the last.

    Raises:
        DamagedVideoError: the tar is missing or damaged at this video.
    """
    try:
        yield from _stored_frames(tar, sample)
    except (OSError, ValueError, FFmpegError) as error:
        raise DamagedVideoError(str(error)) from error


def _stored_frames(tar: Path, sample: Sample) -> Iterator[np.ndarray]:
    with tar.open("rb", buffering=0) as file:
        mp4 = os.pread(file.fileno(), sample.num_bytes, sample.offset)
    if zlib.crc32(mp4) != sample.crc32:
        raise ValueError("its checksum is wrong")
    expected = ("yuv420p", sample.width, sample.height)
    with tolerant_open(av.open, av.__version__)(io.BytesIO(mp4), "r") as container:
        container.streams.video[0].codec_context.thread_count = 1
        num = 0
        for frame in container.decode(video=0):
            if (frame.format.name, frame.width, frame.height) != expected:
                raise ValueError("the size or format of its frames is not that of its record")
            yield frame.to_ndarray()
            num += 1
    if num != sample.num_frames:
        raise ValueError(f"{num} frames instead of {sample.num_frames}")


def yuv_to_rgb(frame_NIW: np.ndarray) -> np.ndarray:
    """Convert frames to uint8 RGB, NHWC, by the converter that the decoders use."""
    return np.stack(list(iterate_rgb(frame_NIW)))


def iterate_rgb(frame_NIW: np.ndarray) -> Iterator[np.ndarray]:
    """Convert frames to RGB and yield them one by one, HWC.

    A few frames at a time are stacked into one tall frame, as a call costs more than converting a
    frame. A row of luma uses only its own row of chroma, so neighbouring frames do not mix.
    """
    num, rows, width = frame_NIW.shape
    height = rows * 2 // 3
    reformatter = VideoReformatter()
    for start in range(0, num, CHUNK_FRAMES):
        chunk = frame_NIW[start : start + CHUNK_FRAMES].reshape(-1, rows * width)
        tall = VideoFrame(width, len(chunk) * height, "yuv420p")
        offset = 0
        for plane, shrink in zip(tall.planes, (1, 2, 2)):
            h, w = height // shrink, width // shrink
            pixel_NHW = chunk[:, offset : offset + h * w].reshape(-1, h, w)
            _bytes_of(plane).reshape(len(chunk), h, plane.line_size)[..., :w] = pixel_NHW
            offset += h * w
        plane = reformatter.reformat(tall, format="rgb24", threads=1).planes[0]
        for frame_HX in _bytes_of(plane).reshape(len(chunk), height, plane.line_size):
            yield frame_HX[:, : 3 * width].reshape(height, width, 3)


def _bytes_of(plane: VideoPlane) -> np.ndarray:
    """The plane's memory, rows padded to `line_size`; not a copy."""
    return np.frombuffer(memoryview(plane), np.uint8)
