"""Tests that need a SLURM cluster are skipped with a reason, or fail if a cluster is required."""

import os
import subprocess
import sys
from pathlib import Path

NO_FOLDER = "/dev/null"  # SLURM's programs cannot be kept in it, not even by root
REASON = "starting one takes root" if os.geteuid() else NO_FOLDER
PYTEST = (sys.executable, "-m", "pytest")
THREE_TESTS = "doctor or image_says or finished_study"  # in two files


def run_without_cluster(*, required: str) -> tuple[int, list[str]]:
    """pytest's exit code, and the lines of its output that have the reason and the count."""
    options = ["-p", "no:cacheprovider", "--no-header", "--quiet"]
    env = {
        **os.environ,
        "KDBATCH_CLUSTER_CACHE": f"{NO_FOLDER}/cache",
        "KDBATCH_REQUIRE_CLUSTER": required,
    }
    done = subprocess.run(
        [*PYTEST, "tests/cluster", "-m", "cluster", "-k", THREE_TESTS, *options],
        cwd=Path(__file__).parent.parent,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, count = done.stdout.splitlines()
    return done.returncode, [*(line for line in lines if REASON in line), count]


def test_they_are_skipped_with_one_line_that_has_the_reason() -> None:
    code, (line, count) = run_without_cluster(required="")
    assert code == 0 and line.startswith("SKIPPED [3] ")
    assert "3 skipped" in count


def test_they_fail_if_a_cluster_is_required() -> None:
    code, (*lines, count) = run_without_cluster(required="1")
    assert code == 1 and "3 errors" in count
    assert lines and all(
        "a cluster is required (KDBATCH_REQUIRE_CLUSTER=1), and " in line for line in lines
    )
