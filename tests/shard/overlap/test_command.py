"""`kdbatch shard overlap` as it is typed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.altered_videos import FOUND, NUM_COPIED

from kdbatch.vocab.leaks.overlap_list import load_overlap_list


def overlap(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kdbatch", "shard", "overlap", *words, "--processes=2"],
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def study(copies: Path, in_tmp: Path) -> Path:
    shutil.copytree(copies, in_tmp / "shards")
    (in_tmp / "kdbatch.toml").write_text("")
    return in_tmp


def test_the_list_is_written_and_shown_in_80_columns_with_what_to_do_next(study: Path) -> None:
    done = overlap("k400", "ucf101", cwd=study)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("overlap k400 ")]
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["k400", "ucf101", "frames", "bits", "begins"]
    assert len(lines) == 1 + NUM_COPIED * len(FOUND) + 3
    assert lines[-3] == f"{NUM_COPIED} of 4 videos of k400 show what one of 8 of ucf101 shows."
    assert lines[-1] == "without: {k400: [overlap-k400-ucf101.csv]}"
    listed = load_overlap_list(study / "overlap-k400-ucf101.csv", first="k400", where="test")
    assert len(listed.pairs) == NUM_COPIED * len(FOUND)
    again = overlap("k400", "ucf101", cwd=study)
    assert again.returncode == 2 and "exists, and may have been changed by hand" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_the_list_is_printed_for_a_program(study: Path) -> None:
    done = overlap("k400", "ucf101", "--to=mine.csv", "--json", cwd=study)
    found = json.loads(done.stdout)
    assert (found["list"], found["num_first"], found["num_second"]) == ("mine.csv", 4, 8)
    pairs = load_overlap_list(study / "mine.csv", first="k400", where="test").pairs
    assert found["pairs"] == [vars(pair) for pair in pairs]


def test_slips_are_one_line_before_anything_is_read(study: Path) -> None:
    for words, message in (
        (("k400", "k400"), "k400 twice"),
        (("k400", "ucf"), "Did you mean 'ucf101'"),
        (("k400", "hmdb51"), "hmdb51 has no shards"),
        (("k400", "ucf101", "--to=list.parquet"), "ends in .csv"),
        (("k400", "ucf101", "--to=shards/k400/x.csv"), "is for the shards"),
        (("k400",), "needs FIRST SECOND"),
    ):
        done = overlap(*words, cwd=study)
        assert done.returncode == 2 and message in done.stderr, (words, done.stderr)
        assert len(done.stderr.splitlines()) == 1
