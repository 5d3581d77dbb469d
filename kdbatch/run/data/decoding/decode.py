"""Frames of stored videos. Axes: N wanted frames, H rows, W columns, C = 3 colours; uint8.

A decoder reads from the tar what it needs and nothing else; no torch here, so that the processes
that read stay small. All decoders give equal bits.
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
    """Frames `wanted` (display order, from 0; any order, repeats allowed) of a stored video, NHWC,
    in the order of `wanted`.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    frame_NHWC = np.empty((len(wanted), sample.height, sample.width, 3), np.uint8)
    decode_each(tar, sample, wanted, frame_NHWC.__setitem__, decoder=decoder)
    return frame_NHWC


def decode_each(
    tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame, *, decoder: str
) -> None:
    """`put(i, frame_HWC)` for each i-th frame of `wanted`, in any order: for callers that need a
    part of the frame only.

    A video that was stored without being transcoded has no decoder configuration and no index;
    decord reads those, whatever `decoder`.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    assert all(0 <= frame < sample.num_frames for frame in wanted), (
        sample.key,
        sample.num_frames,
        wanted,
    )
    decode = lookup(DECODERS, decoder, where="decoder")
    if not len(wanted):
        return
    shape = (sample.height, sample.width, 3)

    def put_checked(place: int, frame_HWC: np.ndarray) -> None:
        if frame_HWC.shape != shape:
            raise DamagedVideoError(
                f"its frames are {frame_HWC.shape[1]}x{frame_HWC.shape[0]}, not {sample.width}x{sample.height}"
            )
        put(place, frame_HWC)

    try:
        (decode if sample.extradata else decode_original)(tar, sample, wanted, put_checked)
    except (DamagedVideoError, OSError, ValueError) as error:
        raise UserError(
            f"{tar}: {sample.key} cannot be read ({error}). Make the shard again: rm {tar}, then the kdbatch shard command that made it."
        ) from error


DECODERS: Mapping[str, Callable[[Path, Sample, Sequence[int], PutFrame], None]] = {
    "pyav": decode_with_pyav,
    "decord": decode_with_decord,
    **({"torchcodec": decode_with_torchcodec} if HAS_TORCHCODEC else {}),
}
