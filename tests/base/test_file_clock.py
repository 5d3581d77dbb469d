"""The age of a file, whatever the clock of this machine says."""

import os
import time
from pathlib import Path

import pytest

from kdbatch.base import file_clock
from kdbatch.base.file_clock import seconds_since_change

NO_SUCH_FLAG = 0


@pytest.mark.parametrize("has_unnamed", [True, False])
def test_the_age_is_that_of_the_file_system_when_this_machines_clock_is_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_unnamed: bool
) -> None:
    if not has_unnamed:  # as on NFS: the folder is then opened for writing, which fails
        monkeypatch.setattr(os, "O_TMPFILE", NO_SUCH_FLAG)
    path, now = tmp_path / "status.json", time.time()
    path.touch()
    os.utime(path, (now - 30, now - 30))
    monkeypatch.setattr(file_clock.time, "time", lambda: now + 90)
    assert seconds_since_change(path, folder=tmp_path) == pytest.approx(30, abs=2)
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_file_can_be_made_this_machines_clock_counts(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.touch()
    missing = tmp_path / "not there"
    assert seconds_since_change(path, folder=missing) == pytest.approx(0, abs=2)
    assert seconds_since_change(missing, folder=tmp_path) == 0
