"""Inputs for the tests of several rooms: the project's own experiments, and real videos."""

import os
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"

# Real videos are not part of the project. KDBATCH_REAL_CLIPS names a folder of them; the default is
# a folder next to the checkout.
REAL_CLIPS = Path(
    os.environ.get("KDBATCH_REAL_CLIPS") or Path(__file__).parents[3] / "shared" / "clips"
)


def real_clips(pattern: str = "*") -> list[Path]:
    """Videos of Kinetics-400 (*.mp4), UCF101 (v_*.avi) and HMDB51 (hmdb51_*.avi).

    Skips the test if there are none.
    """
    found = sorted(path for path in REAL_CLIPS.glob(pattern) if path.suffix in (".mp4", ".avi"))
    return found or pytest.skip(
        f"no real {pattern} in {REAL_CLIPS}: name a folder of real clips in KDBATCH_REAL_CLIPS"
    )
