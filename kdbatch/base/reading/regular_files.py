"""Opens files alone: nobody may ever write to a named pipe that lies in the place of one."""

import codecs
import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Literal

from kdbatch.base.errors import UserError

SAVE_AS_UTF8 = "Save it as UTF-8 in your editor."


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


def read_text(path: Path, *, errors: Literal["strict", "surrogateescape"] = "strict") -> str:
    """The text of a UTF-8 file, with or without a byte order mark; every end of a line is LF.

    Raises:
        OSError: as of `open_regular`.
        UserError: it is in another encoding.
    """
    text = decoded(read_regular(path), where=str(path), errors=errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def decoded(
    raw: bytes,
    *,
    where: str,
    advice: object = SAVE_AS_UTF8,
    errors: Literal["strict", "surrogateescape"] = "strict",
) -> str:
    """The text of UTF-8 bytes, without a byte order mark; `errors` as of `bytes.decode`.

    Raises:
        UserError: they are UTF-16, as spreadsheets and Windows write it, or not UTF-8.
    """
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw:
        raise UserError(
            f"{where}: has NUL bytes, as UTF-16 text has, and is read as UTF-8. {advice}"
        )
    try:
        return raw.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: is not UTF-8 text. {advice}") from error
