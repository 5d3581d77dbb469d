"""Folders of one user in places where everybody can make files, such as /dev/shm and /tmp.

There another user may make a folder of the expected name first, or a link in its place, to read
what is written, to have another file overwritten, or to supply files of his own. So a folder is
opened without following a link and its owner is checked; its files are opened relative to the
descriptor of that folder, so that what was checked is what is used.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A name that is a pipe would otherwise block whoever opens it.
_OPEN_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_UID_MAP = Path("/proc/self/uid_map")
_OVERFLOW_UID = Path("/proc/sys/kernel/overflowuid")
_ALL_UIDS = 2**32 - 1


def folder_of_this_user(path: Path) -> Path:
    """`path` with the number of this user at its end: /dev/shm/kdbatch-1000.

    The number is that outside of a container which calls its user root, as --fakeroot does: the
    same folder inside and outside.
    """
    uid = os.geteuid()
    for inside, outside, count in _uid_map():
        if inside <= uid < inside + count:
            uid += outside - inside
            break
    return path.parent / f"{path.name or 'kdbatch'}-{uid}"  # the root has no name


@contextmanager
def open_private_folder(path: Path) -> Iterator[int]:
    """The descriptor of a folder that only this user can use; it is made where it is missing.

    Raises:
        OSError: it cannot be made; or there is a link of that name, or a folder that belongs to
            another user or that others can write to.
    """
    try:
        folder = os.open(path, _OPEN_FOLDER)
    except FileNotFoundError:
        folder = _make_and_open(path)
    except OSError as error:
        if path.is_symlink():
            raise _refused(path, "is a link") from error
        raise
    try:
        _check_folder(folder, path)
        yield folder
    finally:
        os.close(folder)


def open_own_file(name: str, flags: int, *, folder: int) -> int:
    """Open a file of a private folder, whose descriptor is `folder`; a new file gets mode 0600.

    Raises:
        FileNotFoundError: there is none, and `flags` do not make one.
        ForeignFileError: it is a link, has another name as well, is no regular file, or belongs to
            another user.
        OSError: another error of the file system.
    """
    try:
        file = os.open(name, flags | _OPEN_FILE, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise ForeignFileError(error.errno, "is not a plain file", name) from error
        raise
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _is_own(status):
        os.close(file)
        raise ForeignFileError(errno.EPERM, "is not a plain file of this user alone", name)
    return file


class ForeignFileError(OSError):
    """A file of a private folder that this user's programs have not made there."""


def _make_and_open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # made since, by whomever: it is checked
        path.mkdir(mode=0o700)
    return os.open(path, _OPEN_FOLDER)


def _check_folder(folder: int, path: Path) -> None:
    status = os.fstat(folder)
    if _stands_for_others(os.geteuid()):
        raise _refused(path, "has an owner that this container hides")
    if not _is_own(status):
        raise _refused(path, f"belongs to another user (uid {status.st_uid})")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused(path, "can be written to by other users")
    if stat.S_IMODE(status.st_mode) != stat.S_IRWXU:
        os.fchmod(folder, stat.S_IRWXU)


def _is_own(status: os.stat_result) -> bool:
    uid = os.geteuid()
    return status.st_uid == uid and not _stands_for_others(uid)


@cache
def _stands_for_others(uid: int) -> bool:
    """Whether files of this user cannot be told from those of others: a container shows all users
    that it does not map as one, and this process may belong to one of them.
    """
    try:
        overflow_uid = int(_OVERFLOW_UID.read_text())
    except (OSError, ValueError):
        overflow_uid = 65534
    if uid != overflow_uid:
        return False
    return sum(count for _, _, count in _uid_map()) < _ALL_UIDS


def _uid_map() -> list[tuple[int, ...]]:
    """Lines of three numbers: the first uid inside, the first outside, how many of them.

    See user_namespaces(7). Where there are no namespaces, one line has all uids.
    """
    try:
        lines = _UID_MAP.read_text().splitlines()
    except OSError:
        return [(0, 0, _ALL_UIDS)]
    return [tuple(map(int, line.split())) for line in lines]


def _refused(path: Path, reason: str) -> OSError:
    return OSError(errno.EPERM, reason, str(path))
