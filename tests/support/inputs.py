"""What tests of several rooms stand in: the project's own files, as a user would use them, and real
videos where there are some.
"""

import os
from pathlib import Path

import pytest

JOBS = Path(__file__).parents[2] / "jobs"

# Real videos are not part of the project: KDBATCH_REAL_CLIPS names a folder of them, else one may
# lie beside the checkout.
REAL_CLIPS = Path(
    os.environ.get("KDBATCH_REAL_CLIPS") or Path(__file__).parents[3] / "shared" / "clips"
)


def real_clips(pattern: str = "*") -> list[Path]:
    """Videos of Kinetics-400 (*.mp4), UCF101 (v_*.avi) and HMDB51 (hmdb51_*.avi); without any of
    them the test is skipped.
    """
    found = sorted(path for path in REAL_CLIPS.glob(pattern) if path.suffix in (".mp4", ".avi"))
    return found or pytest.skip(
        f"no real {pattern} in {REAL_CLIPS}: name a folder of real clips in KDBATCH_REAL_CLIPS"
    )
