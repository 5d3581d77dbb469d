"""Decoding of frames of stored videos, by one of several decoders that all give equal bits.

A decoder reads only what it needs from the tar. No torch here, so that decode workers stay small.
Axes: N wanted frames, H rows, W columns, C = 3 colours; uint8.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.run.data.decoding.bare import decode_with_pyav
from kdbatch.run.data.decoding.excerpt import DamagedVideoError, PutFrame
from kdbatch.run.data.decoding.files import (
    HAS_TORCHCODEC,
    decode_original,
    decode_with_decord,
    decode_with_torchcodec,
)
from kdbatch.vocab.shards import Sample


def decode_frames(tar: Path, sample: Sample, wanted: Sequence[int], *, decoder: str) -> np.ndarray:
    """Decode the frames `wanted` of a stored video, NHWC.

    `wanted` are numbers in display order, from 0, in any order and with repeats; the result has the
    order of `wanted`.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    frame_NHWC = np.empty((len(wanted), sample.height, sample.width, 3), np.uint8)
    decode_each(tar, sample, wanted, frame_NHWC.__setitem__, decoder=decoder)
    return frame_NHWC


def decode_each(
    tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame, *, decoder: str
) -> None:
    """Call `put(i, frame_HWC)` for each i-th frame of `wanted`, in any order.

    This is for callers that need only a part of each frame. A video that was stored without being
    transcoded has no decoder configuration and no index; decord decodes it, whatever `decoder` is.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    num_frames = sample.num_frames
    assert all(0 <= frame < num_frames for frame in wanted), (sample.key, num_frames, wanted)
    decode = lookup(DECODERS, decoder, where="decoder")
    if not len(wanted):
        return
    shape = (sample.height, sample.width, 3)

    def put_checked(rank: int, frame_HWC: np.ndarray) -> None:
        if frame_HWC.shape != shape:
            height, width, _ = frame_HWC.shape
            raise DamagedVideoError(
                f"its frames are {width}x{height}, not {sample.width}x{sample.height}"
            )
        put(rank, frame_HWC)

    if not sample.extradata:
        decode = decode_original
    try:
        decode(tar, sample, wanted, put_checked)
    except (DamagedVideoError, OSError, ValueError) as error:
        raise UserError(
            f"{tar}: {sample.key} cannot be read ({error}). Make the shard again: rm {tar}, then "
            "the command that made it."
        ) from error


DECODERS: Mapping[str, Callable[[Path, Sample, Sequence[int], PutFrame], None]] = {
    "pyav": decode_with_pyav,
    "decord": decode_with_decord,
    **({"torchcodec": decode_with_torchcodec} if HAS_TORCHCODEC else {}),
}
