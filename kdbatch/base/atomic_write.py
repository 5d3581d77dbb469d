"""Files appear whole or not at all: write `x.part`, then rename (an interrupted writer leaves only
a `.part`).
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError

_STALE_SECONDS = 3600


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in place atomically.

    The temporary name carries host and process id, so two writers never share one, on two nodes
    neither; the last to finish wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """The folder that a command was told to write to, with those above it.

    Raises:
        UserError: a file is in its place, or it may not be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be made a folder ({error.strerror}). Name another: --to FOLDER"
        ) from error


def remove_abandoned_parts(folder: Path, names: str) -> None:
    """Delete the temporary files of killed writers. One of another node may still be at work: there
    only age tells.
    """
    for part in folder.glob(f"{names}.part"):
        with contextlib.suppress(
            FileNotFoundError
        ):  # its writer has just put it in place, or another builder has deleted it
            if _is_dead(part) or part.stat().st_mtime < time.time() - _STALE_SECONDS:
                part.unlink()


def _is_dead(part: Path) -> bool:
    """Whether the process that wrote it was one of this host, and is no more."""
    stem, _, process = part.name.removesuffix(".part").rpartition(".")
    if not (stem.endswith(f".{socket.gethostname()}") and process.isdecimal()):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def write_text(path: Path, text: str) -> None:
    atomic_write(path, lambda part: _write_text(part, text))


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, keys in the order in which they were given: the order of axes and
    roles means something.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def load_json(path: Path) -> Any:
    """The JSON value stored in `path`.

    Raises:
        UserError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise UserError(
            f"{path}: is not JSON ({error}). Delete it and repeat the command that wrote it."
        ) from error


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
