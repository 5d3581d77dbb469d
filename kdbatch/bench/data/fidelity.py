"""How much smaller a stored video is than its original, and how much of the picture is left."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kdbatch.shard.source_video import (
    inspect_video,
    open_video,
    to_constant_rate,
    translate_decode_errors,
)
from kdbatch.shard.transcode import INTERPOLATION, quarter_turns, scale_frame
from kdbatch.vocab.shards import Sample

_LEAST_ERROR = 1e-5  # squared; of pictures that are equal in every pixel, for 98 dB


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """`share` is bytes stored per byte of the original. Peak signal-to-noise ratios in dB, each the
    mean over frames, against what the same scaler makes of the original, not encoded: of all
    colours (RGB, chroma not subsampled) and of luma.
    """

    name: str
    num_frames: int
    share: float
    rgb_db: float
    luma_db: float


def measure_fidelity(path: Path, tar: Path, sample: Sample) -> Fidelity:
    """Decode an original and what `kdbatch shard` stored of it, side by side.

    Raises:
        BrokenVideo: one of them cannot be decoded.
    """
    with tar.open("rb") as file:
        file.seek(sample.offset)
        video = file.read(sample.num_bytes)
    scaler, rgb_db, luma_db = VideoReformatter(), [], []
    with translate_decode_errors():
        footage = inspect_video(path)
        with open_video(path) as (source, stream), av.open(io.BytesIO(video), "r") as small:
            for wanted, found in zip(
                to_constant_rate(source.decode(stream), footage), small.decode(video=0), strict=True
            ):
                turns = quarter_turns(wanted)
                width, height = (
                    (sample.height, sample.width) if turns % 2 else (sample.width, sample.height)
                )
                rgb_HWC = scaler.reformat(
                    wanted, width, height, "rgb24", interpolation=INTERPOLATION, threads=1
                ).to_ndarray()
                luma_HW = scale_frame(scaler, wanted, width=width, height=height).to_ndarray()[
                    :height
                ]
                rgb_db.append(_decibels(np.rot90(rgb_HWC, turns), found.to_ndarray(format="rgb24")))
                luma_db.append(
                    _decibels(np.rot90(luma_HW, turns), found.to_ndarray()[: sample.height])
                )
    return Fidelity(
        name=path.name,
        num_frames=sample.num_frames,
        share=sample.num_bytes / path.stat().st_size,
        rgb_db=float(np.mean(rgb_db)),
        luma_db=float(np.mean(luma_db)),
    )


def fidelity_lines(found: Sequence[Fidelity]) -> list[str]:
    """A table for a person, with the means over videos below."""
    width = max(len("mean"), *(len(f.name) for f in found))
    lines = [f"{'':{width}}  frames  bytes of original  PSNR rgb     luma"]
    lines += [
        f"{f.name:{width}} {f.num_frames:7} {f.share:18.2f} {f.rgb_db:6.1f} dB {f.luma_db:5.1f} dB"
        for f in found
    ]
    share, rgb, luma = (
        float(np.mean(of_all)) for of_all in zip(*((f.share, f.rgb_db, f.luma_db) for f in found))
    )
    return [*lines, f"{'mean':{width}} {'':7} {share:18.2f} {rgb:6.1f} dB {luma:5.1f} dB"]


def _decibels(wanted: np.ndarray, found: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pixels: 10 log10(255^2 / mean squared error)."""
    error = float(np.mean((wanted.astype(np.float32) - found) ** 2))
    return 10 * math.log10(255**2 / max(error, _LEAST_ERROR))
