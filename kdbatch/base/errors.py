"""The exception for mistakes of the user, and the line about an error of the file system."""

import errno
import os
from pathlib import Path

from kdbatch.base.command_lines import shell_word
from kdbatch.base.disk_space import (
    LOST_DISK_ERRORS,
    OPEN_FILES_ERRORS,
    disk_full_error,
    open_files_limit,
    remedy_of,
)

FORBIDDEN_ERRORS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
STANDARD_OUTPUT = "standard output"


class UserError(Exception):
    """A mistake that the user can correct. It is printed as one line, and the exit code is 2.

    The message has the place, what was found there, what is valid, and the command to type. Further
    arguments are further lines, for a list of commands.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        return "\n".join(self.lines)


class UnreadableError(UserError):
    """A file or a folder is there, or may be there, and cannot be read: nothing is known of it.

    Callers never take it for missing, finished or free to be started again.
    """


def unreadable(path: Path, error: OSError) -> UnreadableError:
    """The exception for a file or folder that cannot be read because of `error`."""
    reason, look = error.strerror or str(error), f"ls -ld {shell_word(path)}"
    if error.errno == errno.ENOENT:
        return UnreadableError(f"{path}: is reached by a link that leads nowhere. Look: {look}")
    if error.errno in FORBIDDEN_ERRORS:
        return UnreadableError(f"{path}: cannot be read ({reason}). Who may read it: {look}")
    return UnreadableError(f"{path}: cannot be read ({reason}). Look: {look}")


def os_error_line(error: OSError, *, command: str, other_folder: str) -> str:
    """One line about an error of the file system: the path, the reason, and what would do.

    `command` is the one to repeat; `other_folder` is how another folder is named for it.
    """
    name = str(error.filename or "")
    if full := disk_full_error(error, path=Path(name)):
        remedy = remedy_of(str(full))
        if name == STANDARD_OUTPUT or not name:
            return f"{name or 'a file'}: {full.strerror}. {remedy}, then repeat: {command}"
        return f"{full}. {remedy}, then repeat: {command}"
    reason = error.strerror or str(error)
    if name and error.errno in FORBIDDEN_ERRORS:
        path = Path(name).absolute()
        there = next(place for place in (path, *path.parents) if os.path.lexists(place))
        return (
            f"{name}: {reason}. Who may use it: ls -ld {shell_word(there)}. "
            f"{other_folder}, then repeat: {command}"
        )
    if error.errno in OPEN_FILES_ERRORS:
        return (
            f"{name or 'a file'}: {reason}; {open_files_limit()} are allowed. "
            f"Allow more (ulimit -n 4096), then repeat: {command}"
        )
    if error.errno in LOST_DISK_ERRORS:
        return f"{name or 'a file'}: {reason} (its disk or file server). Then repeat: {command}"
    return f"{name}: {reason}" if name else reason
