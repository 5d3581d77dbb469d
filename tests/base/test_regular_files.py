"""Pipes, sockets and devices in the place of files that commands read: told, never waited for."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.reports import StudySpec

from kdbatch.base.reading.regular_files import read_regular, read_text


def _zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [os.mkfifo, _zero])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match="it is a pipe or a device, not a file"):
        read_regular(tmp_path / "x")


def test_a_folder_is_an_error_and_ends_of_lines_are_line_feeds(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path)
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(tmp_path / "x") == "a\nb\nc\n"


@pytest.mark.parametrize(
    "name", ["run.json", "done.json", "status.json", "log.txt", "kdbatch.toml"]
)
def test_no_command_waits_for_a_pipe(tmp_path: Path, name: str) -> None:
    record = StudySpec().write(tmp_path / "runs")
    run_id = record.cells[0].run_id
    path = tmp_path / (name if name == "kdbatch.toml" else f"runs/{run_id}/{name}")
    path.unlink(missing_ok=True)
    if name == "status.json":
        (path.parent / "done.json").unlink()
    os.mkfifo(path)
    for words in (("status",), ("logs", run_id)):
        done = subprocess.run(
            [sys.executable, "-m", "kdbatch", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        if words[0] == "logs" and name in ("log.txt", "kdbatch.toml"):
            assert done.returncode == 2 and "cannot be read (it is a pipe or" in done.stderr
            assert len(done.stderr.splitlines()) == 1
