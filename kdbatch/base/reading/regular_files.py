"""Opens files alone: nobody may ever write to a named pipe that lies in the place of one."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading.

    Raises:
        OSError: it cannot be opened, or is something else, such as a pipe.
    """
    # Without waiting for a writer; reads of files do not mind.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(number, "rb")
    os.close(number)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))


def read_regular(path: Path) -> bytes:
    """The bytes of a file; errors as of `open_regular`, with its name."""
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark; every end of a line is LF.

    Raises:
        OSError: as of `open_regular`.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = read_regular(path).decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")
