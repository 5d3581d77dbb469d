"""The exception for mistakes of the user, and the line about an error of the file system."""

import errno
import shlex
from pathlib import Path

from kdbatch.base.disk_space import disk_full_error

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


def os_error_line(error: OSError, *, command: str, other_folder: str) -> str:
    """One line about an error of the file system: the path, the reason, and what would do.

    `command` is the one to repeat; `other_folder` is how another folder is named for it.
    """
    name = str(error.filename or "")
    if full := disk_full_error(error, path=Path(name)):
        if name == STANDARD_OUTPUT or not name:
            return f"{name or 'a file'}: {full.strerror}. Make room, then repeat: {command}"
        return f"{full}. Make room, then repeat: {command}"
    reason = error.strerror or str(error)
    if name and error.errno in FORBIDDEN_ERRORS:
        path = Path(name).absolute()
        there = next(place for place in (path, *path.parents) if place.exists())
        return (
            f"{name}: {reason}. Who may use it: ls -ld {shlex.quote(str(there))}. "
            f"{other_folder}, then repeat: {command}"
        )
    return f"{name}: {reason}" if name else reason
