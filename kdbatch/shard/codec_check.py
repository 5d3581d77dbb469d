"""Encodes and decodes one clip with the installed PyAV, as sharding and training do.

Usage: `python -m kdbatch.shard.codec_check`. It prints PyAV's version, or ends with a trace.
"""

import sys
from collections.abc import Iterator

import av
import numpy as np

from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.toy.encode import CODECS, encode_video
from kdbatch.shard.transcode import count_frames, transcode

NUM_FRAMES = 8


def check_codecs() -> str:
    """Encode a clip, transcode it and decode the result; return PyAV's version.

    Raises:
        BrokenVideo: a frame is lost on the way.
        Exception: what PyAV raises, if it lacks a codec or is of a major that is not supported.
    """
    codec = CODECS["k400"]
    with temporary_folder("codecs") as folder:
        path = folder / "clip.mp4"
        encode_video(path, codec=codec, frames=_grey_frames(codec.height, codec.width))
        num_frames = count_frames(transcode(path).video)
    if num_frames != NUM_FRAMES:
        raise BrokenVideo(f"{NUM_FRAMES} frames were encoded, {num_frames} decoded")
    return av.__version__


def _grey_frames(height: int, width: int) -> Iterator[np.ndarray]:
    """Frames that become brighter, uint8 HW3."""
    for i in range(NUM_FRAMES):
        yield np.full((height, width, 3), 16 + 24 * i, np.uint8)


if __name__ == "__main__":
    sys.stdout.write(f"{check_codecs()}\n")
