"""Writes small videos, each with one property that a test needs."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer

DISPLAY_MATRICES = [
    *((a, 0, 0, d) for a in (1, -1) for d in (1, -1)),
    *((0, b, c, 0) for b in (1, -1) for c in (1, -1)),
]
"""(a, b, c, d) of the eight orientations."""
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
    pixel_shape: Fraction = Fraction(1),
) -> Path:
    """Write a video in the container that the suffix names.

    With `milliseconds`, the frames have these times instead of an even rate. `pixel_shape` is the
    width of a pixel for a height of 1.
    """
    needs_scale = milliseconds and path.suffix == ".mp4"
    container_options = {"video_track_timescale": "1000"} if needs_scale else {}
    with av.open(str(path), "w", options=container_options) as container:
        container.metadata.update({"title": title} if title else {})
        stream = container.add_stream(codec, rate=rate, options={"b": "2M", **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if pixel_shape != 1:
            stream.codec_context.sample_aspect_ratio = pixel_shape
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


def write_video_with_sound(
    path: Path,
    *,
    codec: str,
    audio: str,
    num_frames: int = 60,
    audio_seconds: float = 2.4,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write noise with sound beside pictures of 160x128 at 25 frames/s."""
    options = {"preset": "ultrafast", "deadline": "realtime", "cpu-used": "8", "g": "20"}
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream(codec, rate=25, options=options)
        sound = container.add_stream(audio, rate=48000)
        assert isinstance(video, av.VideoStream) and isinstance(sound, av.AudioStream)
        video.width, video.height, video.pix_fmt = 160, 128, "yuv420p"
        num_samples = 0
        for index in range(num_frames):
            picture = bar_picture(index % 70, width=160, height=128)
            noise = rng.integers(0, 30, picture.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(picture // 2 + noise, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
            until = audio_seconds if index == num_frames - 1 else index / 25
            while num_samples < min(audio_seconds, until) * 48000:
                num_samples += _mux_sound(container, sound, num_samples, rng)
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


def _mux_sound(
    container: OutputContainer,
    sound: av.AudioStream,
    start: int,
    rng: np.random.Generator,
) -> int:
    """Encode a piece of noise; return the number of its samples."""
    size = sound.codec_context.frame_size or 1024
    name = sound.codec_context.format.name
    noise = rng.normal(size=(1, size)) / 10
    samples = noise.astype(np.float32) if name.startswith("flt") else noise * 20_000
    frame = av.AudioFrame.from_ndarray(
        samples if name.startswith("flt") else samples.astype(np.int16), format=name, layout="mono"
    )
    frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
    container.mux(sound.encode(frame))
    return size


def cut_file(path: Path, share: float) -> Path:
    """Keep the first `share` of a file's bytes."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def set_display_matrix(path: Path, out: Path, abcd: Sequence[int]) -> Path:
    """Copy an mp4 with another display matrix in its track header.

    It maps (x, y) to (a x + c y, b x + d y) and is in 16.16 fixed point, ISO/IEC 14496-12 8.3.2.
    """

    def matrix(a: int, b: int, c: int, d: int) -> bytes:
        numbers = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
        return b"".join((number % (1 << 32)).to_bytes(4, "big") for number in numbers)

    raw, upright = path.read_bytes(), matrix(1, 0, 0, 1)
    head = raw.index(b"tkhd")
    assert raw.index(upright, head) < head + 80
    out.write_bytes(raw[:head] + raw[head:].replace(upright, matrix(*abcd), 1))
    return out


def mapped_by(picture_HWC: np.ndarray, abcd: Sequence[int]) -> np.ndarray:
    """The picture (HWC) with each pixel at (x, y) moved to (a x + c y, b x + d y)."""
    a, b, c, d = abcd
    y_HW, x_HW = np.indices(picture_HWC.shape[:2])
    column_HW, row_HW = a * x_HW + c * y_HW, b * x_HW + d * y_HW
    column_HW, row_HW = column_HW - column_HW.min(), row_HW - row_HW.min()
    mapped_HWC = np.empty((row_HW.max() + 1, column_HW.max() + 1, 3), np.uint8)
    mapped_HWC[row_HW, column_HW] = picture_HWC
    return mapped_HWC


def rotate_video(path: Path, out: Path) -> Path:
    """Copy an mp4 with a display matrix of a quarter turn in its track header."""
    return set_display_matrix(path, out, (0, 1, -1, 0))


def write_video_with_cover(path: Path, *, codec: str = "libx264", is_first: bool = True) -> Path:
    """Write an mp4 with an embedded cover; tag editors put it before the tracks.

    The cover is the box moov/udta/meta/ilst/covr of Apple's QuickTime format.
    """
    write_video(path, codec=codec)
    picture = io.BytesIO()
    with av.open(picture, "w", format="image2pipe") as out:
        stream = out.add_stream("png", rate=1)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        pixels = np.full((64, 64, 3), 99, np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    data = _box(b"data", (14).to_bytes(4, "big") + bytes(4) + picture.getvalue())
    tags = _box(b"udta", _box(b"meta", bytes(4) + handler + _box(b"ilst", _box(b"covr", data))))
    raw = path.read_bytes()
    start = raw.index(b"moov") - 4
    size = int.from_bytes(raw[start : start + 4], "big")
    boxes = raw[start + 8 : start + size]
    end_of_mvhd = int.from_bytes(boxes[:4], "big")
    inner = boxes[:end_of_mvhd] + tags + boxes[end_of_mvhd:] if is_first else boxes + tags
    assert start + size == len(raw)  # the header is last, so offsets into the data stay right
    path.write_bytes(raw[:start] + _box(b"moov", inner))
    return path


def _box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


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
