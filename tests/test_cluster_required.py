"""Where no SLURM can be started, its tests are left out with a line that says why; where one is
required, they fail with it.
"""

import os
import subprocess
import sys
from pathlib import Path

NO_FOLDER = "/dev/null"  # nobody can keep SLURM's programs in it, not even root
WHY = "starting one takes root" if os.geteuid() else NO_FOLDER
THREE = "doctor or image_says or finished_study"  # of two files


def said_where_none_can_be_started(*, required: str) -> tuple[int, list[str]]:
    """pytest's exit code, and its lines with the reason and with the count."""
    words = [
        "tests/cluster",
        "-m",
        "cluster",
        "-k",
        THREE,
        "-p",
        "no:cacheprovider",
        "--no-header",
        "--quiet",
    ]
    env = {
        **os.environ,
        "KDBATCH_CLUSTER_CACHE": f"{NO_FOLDER}/cache",
        "KDBATCH_REQUIRE_CLUSTER": required,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=Path(__file__).parent.parent,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, count = done.stdout.splitlines()
    return done.returncode, [*(line for line in lines if WHY in line), count]


def test_they_are_skipped_with_one_line() -> None:
    code, (line, count) = said_where_none_can_be_started(required="")
    assert code == 0 and line.startswith("SKIPPED [3] ")
    assert "3 skipped" in count


def test_they_fail_where_a_cluster_is_required() -> None:
    code, (*lines, count) = said_where_none_can_be_started(required="1")
    assert code == 1 and "3 errors" in count
    assert lines and all(
        "a cluster is required (KDBATCH_REQUIRE_CLUSTER=1), and " in line for line in lines
    )
