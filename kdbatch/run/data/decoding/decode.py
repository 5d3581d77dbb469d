"""Decoding of frames of stored videos, by one of several decoders that all give equal bits.

A decoder reads only what it needs from the tar. No torch here, so that decode workers stay small.
Axes: N wanted frames, H rows, W columns, C = 3 colours; uint8.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.run.data.decoding.bare import decode_excerpt, decode_with_pyav
from kdbatch.run.data.decoding.excerpt import DamagedVideoError, PutFrame, excerpt_of
from kdbatch.run.data.decoding.files import (
    HAS_DECORD,
    HAS_TORCHCODEC,
    check_torchcodec,
    decode_with_decord,
    decode_with_torchcodec,
)
from kdbatch.run.data.decoding.original_files import decode_file, decode_original
from kdbatch.vocab.shards.index import Sample


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
    transcoded has no decoder configuration and no index; decord decodes it, or PyAV where there is
    no decord, whatever `decoder` is.

    Raises:
        UserError: the tar is missing or damaged at this video.
    """
    check_decoder(decoder)
    decode = DECODERS[decoder] if sample.extradata else decode_original
    _decode_checked(partial(decode, tar, sample, wanted), sample, wanted, put, tar=tar)


def decode_members(
    video: bytes, index: bytes, sample: Sample, wanted: Sequence[int], *, tar: Path
) -> np.ndarray:
    """Decode the frames `wanted` of a video whose members have been read from `tar`, NHWC.

    `index` is empty for an original.

    Raises:
        UserError: the members are damaged.
    """
    frame_NHWC = np.empty((len(wanted), sample.height, sample.width, 3), np.uint8)

    def decode(put: PutFrame) -> None:
        if sample.extradata:
            decode_excerpt(excerpt_of(video, index, sample, wanted), wanted, put)
        else:
            decode_file(video, sample, wanted, put)

    _decode_checked(decode, sample, wanted, frame_NHWC.__setitem__, tar=tar)
    return frame_NHWC


def _decode_checked(
    decode: Callable[[PutFrame], None],
    sample: Sample,
    wanted: Sequence[int],
    put: PutFrame,
    *,
    tar: Path,
) -> None:
    """Call `decode`, with a check of each frame's size, and turn its errors into a UserError."""
    num_frames = sample.num_frames
    assert all(0 <= frame < num_frames for frame in wanted), (sample.key, num_frames, wanted)
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

    try:
        decode(put_checked)
    except (DamagedVideoError, OSError, ValueError) as error:
        raise UserError(
            f"{tar}: {sample.key} cannot be read ({error}). Make the shard again: rm {tar}, then "
            "the command that made it."
        ) from error


def check_decoder(decoder: str) -> None:
    """Check that a decoder can be used here.

    Raises:
        UserError: it is not installed or lacks libraries, or there is no such decoder.
    """
    if decoder in _INSTALL and decoder not in DECODERS:
        raise UserError(
            f'decoder = "{decoder}": it is not installed here. {_INSTALL[decoder]} Or write '
            'decoder = "pyav" in kdbatch.toml: all decoders give the same frames.'
        )
    lookup(DECODERS, decoder, where="decoder")
    if decoder == "torchcodec":
        check_torchcodec()


DECODERS: Mapping[str, Callable[[Path, Sample, Sequence[int], PutFrame], None]] = {
    "pyav": decode_with_pyav,
    **({"decord": decode_with_decord} if HAS_DECORD else {}),
    **({"torchcodec": decode_with_torchcodec} if HAS_TORCHCODEC else {}),
}

_INSTALL = {
    "decord": "It comes with pip install 'kdbatch[worker]' on x86-64, and exists for nothing else.",
    "torchcodec": "Install it: pip install 'kdbatch[torchcodec]'.",
}
