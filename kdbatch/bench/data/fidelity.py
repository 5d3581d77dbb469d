"""Compares stored videos with their originals: file size, and peak signal-to-noise ratio."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from kdbatch.base.pyav import orientation_of
from kdbatch.shard.source_video import (
    inspect_video,
    open_video,
    to_constant_rate,
    translate_decode_errors,
)
from kdbatch.shard.transcode import INTERPOLATION, scale_frame
from kdbatch.vocab.shards.index import Sample

_MIN_SQUARED_ERROR = 1e-5  # used for pictures that are equal in every pixel; gives 98 dB


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Size and quality of one stored video.

    `share` is bytes stored per byte of the original. The peak signal-to-noise ratios are in dB and
    means over frames: of RGB (chroma not subsampled) and of luma. They compare with the original
    scaled by the same scaler and not encoded.
    """

    name: str
    num_frames: int
    share: float
    rgb_db: float
    luma_db: float


def measure_fidelity(path: Path, tar: Path, sample: Sample) -> Fidelity:
    """Decode an original and its stored video side by side, and compare their frames.

    Raises:
        BrokenVideo: one of them cannot be decoded.
    """
    with tar.open("rb") as file:
        file.seek(sample.offset)
        video = file.read(sample.num_bytes)
    scaler = VideoReformatter()
    decibels: list[tuple[float, float]] = []
    with translate_decode_errors():
        footage = inspect_video(path)
        with open_video(path) as (source, stream), av.open(io.BytesIO(video), "r") as stored:
            frames = to_constant_rate(source.decode(stream), footage)
            for frame, stored_frame in zip(frames, stored.decode(video=0), strict=True):
                decibels.append(_compare(scaler, frame, stored_frame))
    rgb_db, luma_db = np.mean(decibels, axis=0).tolist()
    return Fidelity(
        name=path.name,
        num_frames=sample.num_frames,
        share=sample.num_bytes / path.stat().st_size,
        rgb_db=rgb_db,
        luma_db=luma_db,
    )


def _compare(
    scaler: VideoReformatter, frame: VideoFrame, stored: VideoFrame
) -> tuple[float, float]:
    """Decibels of RGB and of luma of a stored frame, which is upright."""
    orientation = orientation_of(frame)
    width, height = orientation.size(stored.width, stored.height)
    rgb = scaler.reformat(frame, width, height, "rgb24", interpolation=INTERPOLATION, threads=1)
    rgb_HWC = orientation.apply(rgb.to_ndarray())
    luma_IW = scale_frame(scaler, frame, width=width, height=height).to_ndarray()
    luma_HW = orientation.apply(luma_IW[:height])
    return (
        _decibels(rgb_HWC, stored.to_ndarray(format="rgb24")),
        _decibels(luma_HW, stored.to_ndarray()[: stored.height]),
    )


def fidelity_lines(found: Sequence[Fidelity]) -> list[str]:
    """A table as lines of text, with the means over videos in the last one."""
    width = max(len("mean"), *(len(f.name) for f in found))
    lines = [f"{'':{width}}  frames  bytes of original  PSNR rgb     luma"]
    lines += [
        f"{f.name:{width}} {f.num_frames:7} {f.share:18.2f} {f.rgb_db:6.1f} dB {f.luma_db:5.1f} dB"
        for f in found
    ]
    share, rgb, luma = np.mean([(f.share, f.rgb_db, f.luma_db) for f in found], axis=0)
    return [*lines, f"{'mean':{width}} {'':7} {share:18.2f} {rgb:6.1f} dB {luma:5.1f} dB"]


def _decibels(expected: np.ndarray, actual: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels: 10 log10(255^2 / mean squared error)."""
    error = float(np.mean((expected.astype(np.float32) - actual) ** 2))
    return 10 * math.log10(255**2 / max(error, _MIN_SQUARED_ERROR))
