"""Writes files atomically: a `.part` file first, then a rename; reads and writes JSON."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kdbatch.base.digests.sealed_json import (
    BrokenSealError,
    check_seal,
    sealed_text,
    without_seal,
)
from kdbatch.base.digests.sha256 import DigestError, read_verified
from kdbatch.base.disk_space import DiskFullError, disk_full_error
from kdbatch.base.errors import FORBIDDEN_ERRORS, UserError, unreadable
from kdbatch.base.folders.presence import has_broken_link
from kdbatch.base.processes import is_alive
from kdbatch.base.reading.documents import WRITE_AGAIN, parse_json, parse_json_object
from kdbatch.base.reading.regular_files import read_regular

_STALE_SECONDS = 3600
_HOSTS_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel


def atomic_write(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then rename it to `path`.

    The temporary name includes host and process id, so two writers never share one, not even on two
    nodes. The last writer to finish wins; an interrupted writer leaves a `.part` file only, which
    the next process that writes to the folder deletes.

    Raises:
        DiskFullError: no space is left, or a limit of the user or of the shell is reached.
        OSError: another error of the file system; it names `path`, or the folder where that forbids
            writing, and never the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(path.parent)
    part = path.with_name(f"{path.name}.{_writer_host()}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except Exception as error:
        full = disk_full_error(error, path=part)
        # and not another file that `write` needs; libraries name a file by its whole path
        if full and Path(full.filename).absolute() == part.absolute():
            raise DiskFullError(full.errno or 0, str(path)) from error
        if isinstance(error, OSError) and error.filename in (None, str(part)):
            place = path.parent if error.errno in FORBIDDEN_ERRORS else path
            raise OSError(error.errno, error.strerror or str(error), str(place)) from error
        raise
    finally:
        # Where nothing can be written, not even an absent file can be deleted; a file server may
        # refuse for a while. The error of the writing is the one to be told.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def make_folder(path: Path, *, spelling: str) -> None:
    """Make the folder that a command writes to, and its parents; `spelling` is how another is
    named.

    Raises:
        UserError: there is a file of that name, or permission is missing.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be made a folder ({error.strerror}). Name another: {spelling}"
        ) from error


def remove_abandoned_parts(folder: Path, names: str = "*") -> None:
    """Delete the temporary files that killed writers left for files matching the glob `names`.

    Whether a writer on another node still runs is not known: its file is deleted after an hour
    without a change. Files of other users stay, and those that another program named so.
    """
    for part in folder.glob(f"{names}.part"):
        # A file vanishes when its writer renames it, or when another process deletes it.
        with contextlib.suppress(OSError):
            facts = part.lstat()
            stem, _, pid = part.name.removesuffix(".part").rpartition(".")
            if not (pid.isdecimal() and "." in stem) or facts.st_uid != os.geteuid():
                continue
            is_dead = stem.endswith(f".{_writer_host()}") and not is_alive(int(pid))
            if is_dead or facts.st_mtime < time.time() - _STALE_SECONDS:
                part.unlink()


@cache
def _sweep_once(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a folder that cannot be listed may take files
        remove_abandoned_parts(folder)


@cache
def _writer_host() -> str:
    """The host that the process ids of this process are valid on; a container that has ids of its
    own counts as another host.
    """
    host, namespace = socket.gethostname(), Path("/proc/self/ns/pid")
    try:
        number = str(namespace.readlink())
    except OSError:
        return host
    return host if number == _HOSTS_NAMESPACE else f"{host}-{number.strip('pid:[]')}"


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    atomic_write(path, lambda part: _write_text(part, text))


def overwrite_text(path: Path, text: str) -> None:
    """Write `text` into an existing file, in place: for a full disk, where a new file is refused.

    Raises:
        OSError: there is no such file, or the disk has no space even for this.
    """
    with path.open("r+b") as file:
        file.write(text.encode(errors="backslashreplace"))
        file.truncate()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` as indented JSON with a seal (digests/sealed_json.py), atomically."""
    write_text(path, sealed_text(value))


def load_json(path: Path, *, sha256: str = "", advice: object = WRITE_AGAIN) -> Any:
    """Read the JSON value in `path`, after a check of its seal, if it has one.

    `sha256` is that of the file, where another file vouches for it. `advice` is what to do about a
    damaged file.

    Raises:
        UserError: the file is missing, is not JSON, is not what kdbatch wrote, or
            (UnreadableError) cannot be read.
    """
    return _load(path, parse_json, sha256=sha256, advice=advice)


def load_json_object(path: Path, *, advice: object = WRITE_AGAIN) -> dict[str, Any]:
    """Read the JSON object in `path`.

    Raises:
        UserError: the file is missing, unreadable, not JSON, or holds another value.
    """
    return _load(path, parse_json_object, advice=advice)


def _load(path: Path, parse: Callable[..., Any], *, advice: object, sha256: str = "") -> Any:
    try:
        raw = read_verified(path, sha256) if sha256 else read_regular(path)
        is_sealed = check_seal(raw)
        value = parse(raw, where=str(path), advice=advice)
        return without_seal(value, is_sealed=is_sealed)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not has_broken_link(path):
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
        raise unreadable(path, error) from error
    except (BrokenSealError, DigestError) as error:
        raise UserError(
            f"{path}: was changed or damaged: it is not what kdbatch wrote there. {advice}"
        ) from error


def _write_text(path: Path, text: str) -> None:
    # Half of a surrogate pair, which stands for a byte that is not UTF-8, is written as \\udcff.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
