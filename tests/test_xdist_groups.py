"""Tests that share a costly fixture stay on one worker, as their group asks."""

import subprocess
import sys
from pathlib import Path

GROUPED = """
import os
from pathlib import Path

import pytest


@pytest.mark.xdist_group("study")
@pytest.mark.parametrize("i", range(8))
def test_grouped(i):
    Path(os.environ["PYTEST_XDIST_WORKER"]).touch()
"""


def test_tests_of_one_group_run_on_one_worker(tmp_path: Path) -> None:
    """Versions of pytest and pytest-xdist that do not fit ignore groups without a word."""
    (tmp_path / "test_grouped.py").write_text(GROUPED, encoding="utf-8")
    command = (sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup")
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    workers = [path.name for path in tmp_path.iterdir() if path.name in ("gw0", "gw1")]
    assert len(workers) == 1
