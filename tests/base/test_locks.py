"""Locks on file systems with and without `flock`."""

import errno
import fcntl
import subprocess
import sys

import pytest
from support.launching import config_in

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock, is_held
from kdbatch.launch.checks.doctor import run_checks

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


@pytest.fixture
def no_locks(monkeypatch):
    """A file system such as Lustre without `flock`."""

    def refuse(file, how) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_held_lock_is_detected_on_nfs(tmp_path, monkeypatch):
    # NFS implements flock so: an exclusive lock needs a file that is open for writing.
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    lock = tmp_path / "lock"
    lock.touch()
    assert not is_held(lock)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert is_held(lock)
        holder.communicate("\n")
    assert not is_held(lock)


def test_a_file_system_without_locks_is_an_error_of_one_line(tmp_path, no_locks):
    with (
        pytest.raises(
            UserError, match=r"submit.lock: cannot be locked \(Function not implemented\)"
        ),
        hold_lock(tmp_path / "submit.lock"),
    ):
        pass


def test_doctor_tries_a_lock(tmp_path, no_locks):
    (found,) = (finding for finding in run_checks(config_in(tmp_path)) if finding.subject == "runs")
    assert (
        found.severity == "bad"
        and "cannot be locked" in found.message
        and "[paths] runs" in found.message
    )
