"""Videos as published lists and folders name them, with keys for the tars; and the reading of list
files that all readers share.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".3gp", ".flv"})
_MAX_KEY = 80  # a tar header has room for 100 bytes of name, and the key gets a suffix


@dataclass(frozen=True, kw_only=True)
class ListedVideo:
    """A video as published. Videos of one `group` show one scene or one person, so they must not be
    parted between training and test.
    """

    key: str
    path: Path
    label: int
    splits: tuple[str, ...]
    group: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All videos of one part, and all classes of the data set in published order. Videos named by a
    list may be missing on disk.

    `notes` tell a person what was left out, and why.
    """

    classes: tuple[str, ...]
    videos: tuple[ListedVideo, ...]
    notes: tuple[str, ...] = ()


def safe_key(name: str) -> str:
    """`name` in [a-z0-9_-]: marks fall off letters, any other run of characters becomes one dash. A
    hash follows where much was lost.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    key = re.sub(r"[^a-z0-9_-]+", "-", plain.lower())
    lost = re.search(r"[^\x00-\x7f]", plain) or not re.search(r"[a-z0-9]", key)
    return f"{key[: _MAX_KEY - 9]}-{_hash(name)}" if lost or len(key) > _MAX_KEY else key


def make_video(
    path: Path, label: int, *, splits: tuple[str, ...], part: str, group: str
) -> ListedVideo:
    return ListedVideo(
        key=safe_key(path.stem),
        path=path,
        label=label,
        splits=splits,
        group=safe_key(group),
        part=part,
    )


def with_unique_keys(sources: list[ListedVideo], *, where: Path) -> tuple[ListedVideo, ...]:
    """The videos; keys that several of them share get a hash of class folder and file name.

    Raises:
        UserError: none of the videos is there, or one is named twice.
    """
    if not any(source.path.exists() for source in sources):
        shown = f" The first is {sources[0].path}." if sources else ""
        raise UserError(f"{where}: names {len(sources)} videos, none of which is there.{shown}")
    times = Counter(source.key for source in sources)
    unique = tuple(
        replace(source, key=_key_with_hash(source)) if times[source.key] > 1 else source
        for source in sources
    )
    if len({source.key for source in unique}) < len(unique):
        twice = next(
            key for key, number in Counter(source.key for source in unique).items() if number > 1
        )
        raise UserError(f"{where}: the video {twice} is listed more than once.")
    return unique


def unlisted_note(where: Path, left_out: Iterable[Path]) -> tuple[str, ...]:
    """A line on files that no list names, or nothing."""
    names = [printable(path.name) for path in left_out]
    return (
        (f"{where}: left out {plural(len(names), 'video')} that no list names, {names[0]} first.",)
        if names
        else ()
    )


def printable(name: str) -> str:
    """A file name may hold bytes that are no text; tables and terminals hold text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def find_folder(root: Path, name: str, *, holds: str) -> Path:
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder. Set root under [datasets] in kdbatch.toml to the folder of the data set."
        )
    if not (root / name).is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(
            f"{root}: has no folder {name}; found {printable(found)}. Looked for {holds}."
        )
    return root / name


def subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def videos_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


def find_list_file(candidates: list[Path]) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise UserError(
        f"{candidates[0]}: there is no such list file. Download the data set's lists and put them there."
    )


def read_lines(path: Path) -> list[str]:
    """The lines of a list file that are not blank; published ones end in LF or CR LF. Bytes that
    are no UTF-8 stay what they are in file names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty. Download the data set's lists again.")
    return lines


def checked_name(name: str, *, where: str) -> str:
    """A file's name as a list gives it, class folder and all.

    Raises:
        UserError: it leads out of the data set's folder, or no file can have it.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # JSON may hold half of a pair
        raw = b"\0"
    if b"\0" in raw or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UserError(
            f"{where}: {name[:60]!a} names no file in the data set's folder. Download the data set's lists again."
        )
    return name


def quoted(line: str) -> str:
    """A line of a list file, short enough for an error."""
    return repr(printable(line[:60]))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _key_with_hash(source: ListedVideo) -> str:
    return f"{source.key[: _MAX_KEY - 9]}-{_hash(f'{source.path.parent.name}/{source.path.name}')}"
