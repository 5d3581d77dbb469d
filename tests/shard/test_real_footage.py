"""Claims about real videos. KDBATCH_REAL_CLIPS names a folder of some: Kinetics mp4, UCF101 v_*.avi, HMDB51 avi."""

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation, VideoReformatter

from kdbatch.shard.originals import keep
from kdbatch.shard.stored import BrokenVideo, Stored
from kdbatch.shard.transcode import transcode


def _clips(pattern: str) -> list[Path]:
    folder = os.environ.get("KDBATCH_REAL_CLIPS")
    if not folder:
        pytest.skip("KDBATCH_REAL_CLIPS names no folder of real clips")
    return sorted(Path(folder).glob(pattern)) or pytest.skip(f"no {pattern} in {folder}")


def _decibels(path: Path, stored: Stored) -> tuple[float, float]:
    """PSNR of luma and of RGB against the source, scaled alike and not encoded; the mean over frames."""
    scaler, luma, rgb = VideoReformatter(), [], []
    with av.open(str(path), metadata_errors="ignore") as source, av.open(io.BytesIO(stored.video)) as small:
        for wanted, found in zip(source.decode(video=0), small.decode(video=0), strict=True):
            for kind, errors, rows in (("yuv420p", luma, stored.height), ("rgb24", rgb, None)):
                a = scaler.reformat(wanted, stored.width, stored.height, kind, interpolation=Interpolation.BICUBIC).to_ndarray()[:rows]
                b = found.to_ndarray(format=kind)[:rows]
                errors.append(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))
    return float(np.mean(luma)), float(np.mean(rgb))


def test_kinetics_shrinks_to_55_percent_and_keeps_its_quality() -> None:
    """One clip alone may lie below the 35 dB (RGB) that several reach on average."""
    for path in _clips("*.mp4"):
        stored = transcode(path)
        luma, rgb = _decibels(path, stored)
        assert len(stored.video) <= 0.55 * path.stat().st_size
        assert luma > 36 and rgb > 33, (luma, rgb)


def test_every_frame_that_decodes_is_stored_once_and_in_order() -> None:
    for path in _clips("*"):
        with av.open(str(path), metadata_errors="ignore") as source:
            num_frames = sum(1 for _ in source.decode(video=0))
        stored = transcode(path)
        assert stored.num_frames == num_frames
        assert _decibels(path, stored)[0] > 32  # frames that changed places would be far below


def test_hmdb51_is_refused_as_an_original_and_ucf101_is_not() -> None:
    for path in _clips("hmdb51_*.avi"):
        with pytest.raises(BrokenVideo, match="must be transcoded"):
            keep(path)
    for path in _clips("v_*.avi"):
        assert keep(path).video == path.read_bytes()
