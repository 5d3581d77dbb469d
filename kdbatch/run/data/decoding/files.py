"""Decoders that open files: decord and torchcodec, on a mini-mp4 of the packets that are needed.

A reader is used once and dropped: decord's idle readers go on decoding ahead, and none survives a
fork.
"""

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.run.data.decoding.excerpt import DamagedVideoError, PutFrame, read_excerpt
from kdbatch.run.data.decoding.mini_mp4 import mini_mp4
from kdbatch.vocab.shards.index import Sample

HAS_DECORD = find_spec("decord") is not None  # it has no wheel for aarch64
HAS_TORCHCODEC = find_spec("torchcodec") is not None


def check_torchcodec() -> None:
    """Check that torchcodec, which is installed, can load FFmpeg's libraries.

    Raises:
        UserError: it cannot.
    """
    import torchcodec  # noqa: PLC0415 # pyright: ignore[reportMissingImports] - it imports torch

    if torchcodec.ffmpeg_major_version is None:
        raise UserError(
            'decoder = "torchcodec": it cannot load the libraries of FFmpeg 4 to 9, or was built '
            'for another torch. Load the FFmpeg module of the site; or write decoder = "pyav" in '
            "kdbatch.toml: all decoders give the same frames."
        )


def decode_with_decord(tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` and pass each to `put`."""
    excerpt = read_excerpt(tar, sample, wanted)
    rank_of = excerpt.display_ranks()
    ranks = [rank_of[frame] for frame in wanted]
    read_with_decord(mini_mp4(excerpt), ranks, put, num_frames=len(rank_of))


def decode_with_torchcodec(tar: Path, sample: Sample, wanted: Sequence[int], put: PutFrame) -> None:
    """Decode the frames `wanted` and pass each to `put`."""
    # Imported here: it imports torch, 0.5 GB that decode workers need not hold without it.
    from torchcodec.decoders import (  # noqa: PLC0415 # pyright: ignore[reportMissingImports]
        VideoDecoder,
    )

    excerpt = read_excerpt(tar, sample, wanted)
    rank_of = excerpt.display_ranks()
    try:
        reader = VideoDecoder(
            mini_mp4(excerpt), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="approximate"
        )
        frame_NHWC = reader.get_frames_at([rank_of[frame] for frame in wanted]).data.numpy()
    except RuntimeError as error:
        raise DamagedVideoError("torchcodec cannot decode it") from error
    _put_all(frame_NHWC, put)


def read_with_decord(data: bytes, wanted: Sequence[int], put: PutFrame, *, num_frames: int) -> None:
    """Decode the frames `wanted` of a file whose bytes are `data` and pass each to `put`.

    Raises:
        DamagedVideoError: it does not have `num_frames` frames, or does not decode.
    """
    # Imported here: decord takes 30 MB and a tenth of a second in every worker.
    import decord  # noqa: PLC0415

    try:
        reader = decord.VideoReader(io.BytesIO(data), num_threads=1)
        if len(reader) != num_frames:
            raise DamagedVideoError(f"decord finds {len(reader)} frames, {num_frames} are there")
        frame_NHWC = reader.get_batch(list(wanted)).asnumpy()
    except decord.DECORDError as error:
        raise DamagedVideoError("decord cannot decode it") from error
    _put_all(frame_NHWC, put)


def _put_all(frame_NHWC: np.ndarray, put: PutFrame) -> None:
    for rank, frame_HWC in enumerate(frame_NHWC):
        put(rank, frame_HWC)
