"""Whether files are there and what folders hold; what cannot be known is an error, not an absence.

`Path.exists` and `Path.glob` take a loop of links, a link to nowhere and (from Python 3.13 and 3.14
on) a missing permission for an absence. Then a finished run would be started again.
"""

import os
import stat
from pathlib import Path

from kdbatch.base.errors import unreadable

Identity = tuple[int, int]
"""The inode and the time of the last change of a file, in nanoseconds: another one if replaced."""


def is_present(path: Path) -> bool:
    """Whether there is something at `path`.

    Raises:
        UnreadableError: that cannot be known: permission is missing, a link leads nowhere, the file
            system fails.
    """
    return identity_of(path) is not None


def identity_of(path: Path) -> Identity | None:
    """The identity of the file at `path`; None where there is none. One call for a plain file, two
    for one that is missing in a folder.

    Raises:
        UnreadableError: see `is_present`.
    """
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        if _is_below_broken_link(path):
            raise unreadable(path, error) from error
        return None
    except OSError as error:
        raise unreadable(path, error) from error
    if stat.S_ISLNK(found.st_mode):
        try:
            found = path.stat()
        except OSError as error:
            raise unreadable(path, error) from error
    return found.st_ino, found.st_mtime_ns


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; none where there is no folder.

    Raises:
        UnreadableError: it cannot be listed, or is no folder.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError as error:
        if has_broken_link(folder):
            raise unreadable(folder, error) from error
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def paths_in(folder: Path, ending: str) -> list[Path]:
    """The entries of a folder whose name has this ending, sorted; see `entries_of`."""
    return [folder / entry.name for entry in entries_of(folder) if entry.name.endswith(ending)]


def paths_below(folder: Path, name: str) -> list[Path]:
    """The files `name` in the folders directly below `folder`, sorted.

    Raises:
        UnreadableError: one of the folders cannot be read.
    """
    below = [folder / entry.name / name for entry in entries_of(folder) if _may_be_folder(entry)]
    return [path for path in below if is_present(path)]


def _may_be_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link that leads nowhere and may have led to one."""
    try:
        return entry.is_dir() or (entry.is_symlink() and not entry.is_file())
    except OSError:
        return True


def has_broken_link(path: Path) -> bool:
    """Whether a path that is missing is, or lies below, a link that leads nowhere."""
    return _is_link(path) or _is_below_broken_link(path)


def _is_below_broken_link(path: Path) -> bool:
    """The same of the folders above it. One call where its own folder is there."""
    for place in path.parents:
        try:
            place.stat()
        except FileNotFoundError:
            if _is_link(place):
                return True
        except OSError:
            return True
        else:
            return False
    return False


def _is_link(path: Path) -> bool:
    """Whether there is a link at a path, or something that cannot be known."""
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except FileNotFoundError:
        return False
    except OSError:
        return True
