"""Encodes the toy videos with the codecs and containers of the four data sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kdbatch.base.reading.local_name import local_name
from kdbatch.shard.toy.scene import SCENE_FPS


@dataclass(frozen=True, kw_only=True)
class Codec:
    """The codec, container and frame rate of a data set, with presets made for speed."""

    encoder: str
    container: str
    options: dict[str, str]
    width: int
    height: int
    fps: int = SCENE_FPS


CODECS: dict[str, Codec] = {
    "k400": Codec(
        encoder="libx264",
        container="mp4",
        options={
            "preset": "veryfast",
            "crf": "18",
            "threads": "1",
            "x264-params": "cpu-independent=1",
        },
        width=176,
        height=132,
    ),
    "ssv2": Codec(
        encoder="libvpx-vp9",
        container="webm",
        options={
            "deadline": "realtime",
            "cpu-used": "8",
            "crf": "24",
            "b": "0",
            "threads": "1",
            "row-mt": "0",
        },
        width=176,
        height=132,
        fps=12,  # as all of Something-Something V2
    ),
    "ucf101": Codec(
        encoder="mpeg4",
        container="avi",
        options={"b": "1200k", "g": "12", "threads": "1"},
        width=172,
        height=128,
    ),
    "hmdb51": Codec(
        encoder="mpeg4",
        container="avi",
        options={"b": "1200k", "g": "12", "threads": "1"},
        width=192,
        height=144,
    ),
}


def encode_video(path: Path, *, codec: Codec, frames: Iterator[np.ndarray]) -> None:
    """Encode RGB frames (uint8, HW3) to a file at the codec's frames per second.

    Bit-exact flags keep dates, random ids and library versions out of the file.
    """
    with av.open(
        local_name(path), "w", format=codec.container, options={"fflags": "+bitexact"}
    ) as container:
        stream = container.add_stream(
            codec.encoder, rate=codec.fps, options={**codec.options, "flags": "+bitexact"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = codec.width, codec.height, "yuv420p"
        for index, frame_HW3 in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, codec.fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
