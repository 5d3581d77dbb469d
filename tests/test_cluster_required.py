"""Where no SLURM can be started, its tests are left out with a line that says why; where one is required, they fail with it."""

import os
import subprocess
import sys
from pathlib import Path

NO_FOLDER = "/dev/null"  # nobody can keep SLURM's programs in it, not even root
WHY = "starting one takes root" if os.geteuid() else NO_FOLDER
THREE = "doctor or image_says or finished_study"  # of two files


def said_where_none_can_be_started(*, required: str) -> tuple[int, list[str]]:
    """The exit code, and the lines of pytest's summary."""
    words = ["tests/cluster", "-m", "cluster", "-k", THREE, "-p", "no:cacheprovider", "--no-header", "--quiet"]
    env = {**os.environ, "KDBATCH_CLUSTER_CACHE": f"{NO_FOLDER}/cache", "KDBATCH_REQUIRE_CLUSTER": required}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=Path(__file__).parent.parent, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.partition("short test summary info")[2].splitlines()[1:]


def test_they_are_skipped_with_one_line() -> None:
    code, (line, end) = said_where_none_can_be_started(required="")
    assert code == 0 and line.startswith("SKIPPED [3] ") and WHY in line
    assert "3 skipped" in end


def test_they_fail_where_a_cluster_is_required() -> None:
    code, lines = said_where_none_can_be_started(required="1")
    assert code == 1 and "3 errors" in lines[-1]
    assert all("a cluster is required (KDBATCH_REQUIRE_CLUSTER=1)" in line and WHY in line for line in lines[:-1])
