"""Writes small videos, each with one property that a test needs."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

TITLE = "summer, 35 mm"


def bar_picture(index: int, *, width: int, height: int) -> np.ndarray:
    """A white bar over a grey gradient, HWC; the bar is 2 * `index` pixels from the left."""
    gradient_H11 = np.linspace(0, 120, height, dtype=np.uint8)[:, None, None]
    picture_HW3 = np.broadcast_to(gradient_H11, (height, width, 3)).copy()
    picture_HW3[:, 2 * index : 2 * index + 12] = 255
    return picture_HW3


def write_video(
    path: Path,
    *,
    width: int = 160,
    height: int = 128,
    rate: Fraction | int = 25,
    num_frames: int = 35,
    codec: str = "mpeg4",
    milliseconds: Sequence[int] = (),
    options: dict[str, str] | None = None,
    title: str = "",
) -> Path:
    """Write a video in the container that the suffix names.

    With `milliseconds`, the frames have these times instead of an even rate.
    """
    needs_scale = milliseconds and path.suffix == ".mp4"
    container_options = {"video_track_timescale": "1000"} if needs_scale else {}
    with av.open(str(path), "w", options=container_options) as container:
        container.metadata.update({"title": title} if title else {})
        stream = container.add_stream(codec, rate=rate, options={"b": "2M", **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if milliseconds else 1 / Fraction(rate)
        for index, time in enumerate(milliseconds or range(num_frames)):
            frame = av.VideoFrame.from_ndarray(
                bar_picture(index, width=width, height=height), format="rgb24"
            )
            frame.pts, frame.time_base = time, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """Write a file with an audio stream only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        assert isinstance(stream, av.AudioStream)
        for index in range(8):
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.pts = 8000, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rotate_video(path: Path, out: Path) -> Path:
    """Copy an mp4 with a display matrix of a quarter turn in its track header.

    The matrix is in 16.16 fixed point, ISO/IEC 14496-12 8.3.2.
    """
    raw = path.read_bytes()
    upright = b"".join(
        number.to_bytes(4, "big") for number in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    )
    quarter = b"".join(
        (number % (1 << 32)).to_bytes(4, "big")
        for number in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    head = raw.index(b"tkhd")
    assert raw.index(upright, head) < head + 80
    out.write_bytes(raw[:head] + raw[head:].replace(upright, quarter, 1))
    return out


def bar_positions(frames: Sequence[np.ndarray]) -> list[int]:
    """The index of the picture in each frame, from its bar's position; frames may be scaled."""
    found = []
    for frame_HW3 in frames:
        white = np.flatnonzero(frame_HW3.mean(axis=(0, 2)) > 180)
        found.append(round((white[0] * 160 / frame_HW3.shape[1]) / 2))
    return found


def write_video_with_latin1_title(path: Path) -> Path:
    """Write a video whose metadata is not UTF-8, as cameras and old programs do."""
    write_video(path, title=TITLE)
    raw = path.read_bytes()
    assert raw.count(TITLE.encode()) == 1
    path.write_bytes(raw.replace(TITLE.encode(), "été".encode("latin-1") + TITLE[3:].encode()))
    return path
