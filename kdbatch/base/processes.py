"""Ends a process when its parent ends, tells whether one runs, and which user this one has."""

import ctypes
import os
import pwd
import signal

_PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def signal_on_parent_exit(parent_pid: int, number: signal.Signals = signal.SIGTERM) -> bool:
    """Let the kernel send `number` to this process when its parent ends; prctl(2), Linux only.

    Returns False where `parent_pid` is not, or no longer, the parent: then no signal will come.

    The kernel forgets the request if this process, or one that it becomes by exec, changes
    credentials, as a container runtime does. It also sends the signal when only the thread ends
    that started this process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent_pid


def end_with_parent(parent_pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Let `number` end this process when its parent ends; now, if the parent has ended already."""
    if not signal_on_parent_exit(parent_pid, number):
        os.kill(os.getpid(), number)


def is_alive(pid: int) -> bool:
    """Whether a process of this number runs on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's: it exists
    return True


def is_own_user(uid: int | None) -> bool:
    """Whether this process has the user of this number; None stands for that user."""
    return uid is None or uid == os.getuid()


def user_name(uid: int | None) -> str:
    """The login name of a user; the number where the machine knows no name."""
    uid = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
