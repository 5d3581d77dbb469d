"""Folders of killed processes are deleted by the next of the same kind; all others stay."""

import multiprocessing
import os
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from kdbatch.base.temporary.temporary_folder import temporary_folder

fork = multiprocessing.get_context("fork")


def _hold(parent: Path) -> None:
    with temporary_folder("fonts", parent=parent) as folder:
        (folder / "a.ttf").write_text("x")
        (parent / "ready").touch()
        time.sleep(60)


def _make(parent: Path) -> None:
    """In a process of its own: each process sweeps once."""
    with temporary_folder("fonts", parent=parent) as folder:
        (folder / "b.ttf").write_text("x")


def _run_make(parent: Path) -> None:
    process = fork.Process(target=_make, args=(parent,))
    process.start()
    process.join(30)
    assert process.exitcode == 0


def _start_holder(parent: Path) -> BaseProcess:
    holder = fork.Process(target=_hold, args=(parent,))
    holder.start()
    while not (parent / "ready").exists():
        time.sleep(0.01)
    (parent / "ready").unlink()
    return holder


def test_the_folder_of_a_killed_process_is_deleted_and_that_of_a_live_one_is_not(
    tmp_path: Path,
) -> None:
    killed, live = _start_holder(tmp_path), _start_holder(tmp_path)
    others = tmp_path / "kdbatch-bench-x"
    others.mkdir()
    (others / "a").touch()
    (tmp_path / "kdbatch-fonts-link").symlink_to(others)
    os.kill(killed.pid or 0, signal.SIGKILL)
    killed.join()
    assert len(list(tmp_path.glob("kdbatch-fonts-*"))) == 3
    _run_make(tmp_path)
    assert len(list(tmp_path.glob("kdbatch-fonts-*"))) == 2  # the live one's, and the link
    assert (others / "a").exists()
    live.terminate()
    live.join()
    _run_make(tmp_path)
    assert [path.name for path in tmp_path.glob("kdbatch-fonts-*")] == ["kdbatch-fonts-link"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a folder of another user needs root")
def test_the_folder_of_another_user_stays(tmp_path: Path) -> None:
    theirs = tmp_path / "kdbatch-fonts-theirs"
    theirs.mkdir()
    (theirs / "a").touch()
    os.chown(theirs, 12345, 12345)
    _run_make(tmp_path)
    assert (theirs / "a").exists()
