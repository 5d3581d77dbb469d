"""Lines for a person or a program on standard output and standard error; text is never obeyed."""

import errno
import json
import os
import stat
import sys
from contextlib import suppress
from typing import Any

from kdbatch.base.output.visible_text import visible


class ReaderGoneError(Exception):
    """The reader of an output that goes on without end, such as `head`, has ended."""


class OutputError(Exception):
    """The standard output cannot be written, for example because its disk is full.

    It is no OSError and has none as its cause: the files of the work in progress are not to blame.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__("standard output")
        self.error = error


def print_line(line: str, *, endless: bool = False) -> None:
    """Print one line at once, without buffering; control characters are written out.

    Where the reader has ended, such as `head`, this and all later lines go nowhere, and the work of
    a command goes on to its end. An `endless` output ends with its reader.

    Raises:
        ReaderGoneError: the output is `endless`, and its reader has ended.
        OutputError: the output cannot be written, for example because its disk is full.
    """
    _write(f"{visible(line)}\n", endless=endless)


def print_text(text: str, *, endless: bool = False) -> None:
    """Print a text of several lines, as `print_line` does one."""
    lines = text.removesuffix("\n").split("\n")
    _write("".join(f"{visible(line)}\n" for line in lines), endless=endless)


def print_json(value: Any) -> None:
    """Print a value for a program, as JSON that is ASCII whatever the locale."""
    print_text(json.dumps(value, indent=1))


def warn(line: str, *more: str) -> None:
    """Print lines to standard error. Where that cannot be written, the work goes on."""
    with suppress(OSError):
        sys.stderr.write("\n".join([f"kdbatch: {visible(line)}", *map(visible, more)]) + "\n")
        sys.stderr.flush()


def discard_output() -> None:
    """Let everything that is still printed go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _write(text: str, *, endless: bool) -> None:
    failure = _try_to_write(text)
    if failure is None:
        return
    if not _is_reader_gone(failure):
        raise OutputError(failure)
    discard_output()
    if endless:
        raise ReaderGoneError


def _try_to_write(text: str) -> OSError | None:
    """The error, if there is one: raised in its handler, an exception would have it as context."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def _is_reader_gone(error: OSError) -> bool:
    """Whether a pipe's reader has ended, or the terminal was closed."""
    if error.errno == errno.EIO:
        return stat.S_ISCHR(os.fstat(sys.stdout.fileno()).st_mode)
    return error.errno == errno.EPIPE
