"""How errors of the file system end an attempt, and what `kdbatch status` says afterwards."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_disk import small_disk
from torch import nn

from kdbatch.base.atomic_write import write_text
from kdbatch.base.disk_space import DiskFullError, problem_of_disk, remedy_of
from kdbatch.base.errors import UserError, os_error_line
from kdbatch.run.attempt.ending import DiskEnding, disk_ending, end_attempt
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.attempts.exit_rules import EXIT_BUG, EXIT_DISK_FULL, EXIT_STOPPED, EXIT_USER
from kdbatch.vocab.runs.folder import RunFolder


def ending_of(error: BaseException) -> DiskEnding:
    ending = disk_ending(error, path=Path("runs/r1"))
    assert ending is not None
    return ending


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_disk_that_takes_no_file_waits_for_a_person(number: int) -> None:
    ending = ending_of(OSError(number, os.strerror(number), "runs/r1/checkpoint.pt"))
    assert (ending.code, ending.state, ending.cause) == (EXIT_DISK_FULL, "stopped", "disk_full")
    assert ending.reason.startswith(f"runs/r1/checkpoint.pt: {os.strerror(number)}")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ESHUTDOWN, errno.ENOTCONN])
def test_a_lost_file_server_is_tried_again_as_often_as_a_crash(number: int) -> None:
    try:
        try:
            raise OSError(number, os.strerror(number), "shards/a.tar")
        except OSError as error:
            raise UserError("shards/a.tar: cannot be read") from error
    except UserError as error:
        ending = ending_of(error)
    assert (ending.code, ending.state, ending.cause) == (EXIT_STOPPED, "stopped", "crash")
    assert ending.reason.startswith(f"shards/a.tar: {os.strerror(number)}")
    rust = ending_of(ValueError(f"parquet: some words (os error {number})"))
    assert rust.reason.startswith(f"runs/r1: {os.strerror(number)}")


def test_too_many_open_files_name_the_limit_and_are_not_tried_again(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        with pytest.raises(OSError, match="Too many open files") as caught:
            write_text(tmp_path / "a", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    ending = ending_of(caught.value)
    assert (ending.code, ending.state) == (EXIT_USER, "failed")
    assert (
        f"{tmp_path / 'a'}: Too many open files" in ending.reason and "ulimit -n" in ending.reason
    )
    line = os_error_line(caught.value, command="kdbatch report", other_folder="")
    assert "ulimit -n" in line and line.endswith("then repeat: kdbatch report")


def test_a_file_that_may_not_be_read_is_a_line_and_not_tried_again() -> None:
    ending = ending_of(PermissionError(errno.EACCES, "Permission denied", "runs/r2/model"))
    assert (ending.code, ending.state) == (EXIT_USER, "failed")
    assert ending.reason == (
        "runs/r2/model: Permission denied. Who may use it: ls -ld runs/r2/model"
    )


def test_other_errors_are_no_endings_of_a_disk() -> None:
    for error in (
        ValueError("no space"),
        FileNotFoundError(2, "No such file", "a"),
        UserError("a"),
    ):
        assert disk_ending(error, path=Path()) is None


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "r1", size="1m") as folder:
        yield folder


def test_a_run_on_a_disk_that_became_read_only_ends_with_its_exit_code(read_only: Path) -> None:
    """Neither error.txt nor status.json can be written: that is no other error, and the disk is
    what `kdbatch status` finds.
    """
    folder = RunFolder(read_only)
    with StatusReporter(folder, device="cpu", stop=StopSignal()) as reporter:
        subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
        with pytest.raises(OSError, match="Read-only file system") as caught:
            write_text(folder.rows, "x")
        assert end_attempt(caught.value, folder, reporter, SINGLE_PROCESS) == EXIT_DISK_FULL
        bug = ValueError("an error of the program")
        assert end_attempt(bug, folder, reporter, SINGLE_PROCESS) == EXIT_BUG
    assert problem_of_disk(read_only) == "Read-only file system"
    assert remedy_of(problem_of_disk(read_only)) == "Make it writable"


def test_a_disk_without_inodes_says_that_it_takes_no_more_files(read_only: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=2", str(read_only)], check=True)
    write_text(read_only / "a", "x")
    with pytest.raises(DiskFullError) as caught:
        write_text(read_only / "b", "x")
    assert str(caught.value).endswith("No space left on device (the disk allows no more files)")
    assert "no more files" in problem_of_disk(read_only)


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_weights_have_the_mode_of_all_files(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        save_weights(tmp_path / "model.safetensors", nn.Linear(2, 2))
        write_text(tmp_path / "text", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "text").stat().st_mode
