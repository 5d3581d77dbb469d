"""The videos that published lists and folders name, and the reading of list files.

The readers of all data sets share this module.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from kdbatch.base.command_lines import shell_line
from kdbatch.base.errors import UserError
from kdbatch.base.reading.regular_files import read_text
from kdbatch.base.text import plural

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".3gp", ".flv"})
DOWNLOAD_AGAIN = "Download the data set's lists again."
_MAX_DIGITS = 9
_MAX_NAME_BYTES = 255  # of Linux's file systems
_MAX_KEY = 80  # a tar header has 100 bytes for a name, which is a key and a suffix


@dataclass(frozen=True, kw_only=True)
class ListedVideo:
    """A video as published; `key` is its name in the tars.

    Videos of one `group` show one scene or one person, so they must not be divided between training
    and test.
    """

    key: str
    path: Path
    label: int
    splits: tuple[str, ...]
    group: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All videos of one part, and all classes of the data set in published order.

    Videos that a list names may be missing on disk. `notes` are lines for the user about videos
    that were left out, with the reason.
    """

    classes: tuple[str, ...]
    videos: tuple[ListedVideo, ...]
    notes: tuple[str, ...] = ()


def safe_key(name: str) -> str:
    """Turn `name` into a key of [a-z0-9_-].

    Letters lose their accents, and any other run of characters becomes one dash. A hash is appended
    where letters were lost or the key was cut.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    key = re.sub(r"[^a-z0-9_-]+", "-", plain.lower())
    lost = re.search(r"[^\x00-\x7f]", plain) or not re.search(r"[a-z0-9]", key)
    return f"{key[: _MAX_KEY - 9]}-{_hash(name)}" if lost or len(key) > _MAX_KEY else key


def make_video(
    path: Path, label: int, *, splits: tuple[str, ...], part: str, group: str
) -> ListedVideo:
    """A listed video whose key is made from its file name."""
    return ListedVideo(
        key=safe_key(name_text(path.stem)),
        path=path,
        label=label,
        splits=splits,
        group=safe_key(group),
        part=part,
    )


def with_unique_keys(
    videos: list[ListedVideo], *, where: Path, root: Path | None = None
) -> tuple[ListedVideo, ...]:
    """Append a hash of class folder and file name to the keys that several videos share; of the
    whole path below `root`, if that is given.

    Raises:
        UserError: none of the videos exists, or one is listed twice.
    """
    if not videos:
        raise UserError(f"{where}: there is no video of the data set in it. Look: {_look(where)}")
    if not any(video.path.exists() for video in videos):
        first = videos[0].path
        raise UserError(
            f"{where}: names {plural(len(videos), 'video')}, none of which is there. The first is "
            f"{first}. Look: {_look(first.parent)}"
        )
    counts = Counter(video.key for video in videos)
    unique = tuple(
        replace(video, key=_key_with_hash(video, root)) if counts[video.key] > 1 else video
        for video in videos
    )
    counts = Counter(video.key for video in unique)
    duplicate = next((key for key, count in counts.items() if count > 1), None)
    if duplicate is not None:
        raise UserError(f"{where}: the video {duplicate} is listed more than once.")
    return unique


def unlisted_note(folder: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    """A line on the videos that no list names; empty where there is none."""
    names = [printable(name_text(path.name)) for path in paths]
    if not names:
        return ()
    videos = plural(len(names), "video")
    return (f"{folder}: left out {videos} that no list names, {names[0]} first.",)


def name_text(name: str) -> str:
    """A file name, as this locale's paths have it, as text under UTF-8.

    Bytes that are not UTF-8 become surrogates, as `read_lines` gives them. Another locale's paths
    hold other characters for equal bytes.
    """
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def path_name(text: str) -> str:
    """The reverse of `name_text`: a name in a list as this locale's paths have it."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def printable(name: str) -> str:
    """A name as text for tables and terminals: bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def find_root(root: Path) -> None:
    """Raise a UserError unless there is the folder of a data set."""
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder. "
            "Name the folder of the data set with --root, or as root under [datasets] in "
            "kdbatch.toml."
        )


def find_folder(root: Path, name: str, *, layout: str) -> Path:
    """The folder `name` of a data set.

    Raises:
        UserError: it does not exist; the message includes `layout`, the expected files.
    """
    find_root(root)
    if not (root / name).is_dir():
        names = sorted(name_text(path.name) for path in root.iterdir())
        found = ", ".join(names[:6]) or "nothing"
        raise UserError(
            f"{root}: has no folder {name}; found {printable(found)}. Looked for {layout}."
        )
    return root / name


def existing_list(candidates: list[Path]) -> Path | None:
    """The first of `candidates` that is a list file; None where none of them is there.

    Raises:
        UserError: there is something else of that name, such as a link that leads nowhere.
    """
    for path in candidates:
        if path.is_file():
            return path
        if os.path.lexists(path):
            raise UserError(f"{path}: is not a file that can be read. Look: {_look(path)}")
    return None


def find_list_file(candidates: list[Path]) -> Path:
    """The first of `candidates` that is a file.

    Raises:
        UserError: none of them is there, or another thing of that name.
    """
    found = existing_list(candidates)
    if found:
        return found
    raise UserError(
        f"{candidates[0]}: there is no such list file. "
        "Download the data set's lists and put them there."
    )


def read_lines(path: Path) -> list[str]:
    """Read the lines of a list file, without line ends (LF or CR LF) and without blank lines.

    Bytes that are not UTF-8 become surrogates, as in file names.

    Raises:
        UserError: the file cannot be read, has NUL bytes, or has no such lines.
    """
    try:
        text = read_text(path, errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines:
        raise UserError(f"{path}: is empty. {DOWNLOAD_AGAIN}")
    return lines


def checked_name(name: str, *, where: str) -> str:
    """Return a file name from a list, which may include the class folder.

    Raises:
        UserError: it leads out of the data set's folder, or no file can have it.
    """
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair
        raw = b"\0"
    is_long = any(len(part) > _MAX_NAME_BYTES for part in raw.split(b"/"))
    if (
        b"\0" in raw
        or not raw
        or is_long
        or PurePath(name).is_absolute()
        or ".." in PurePath(name).parts
    ):
        raise UserError(
            f"{where}: {name[:60]!a} names no file in the data set's folder. {DOWNLOAD_AGAIN}"
        )
    return name


def listed_number(text: str) -> int | None:
    """The number that a text in a list file writes with a few plain digits; None for others."""
    is_short = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_short else None


def quoted(line: str) -> str:
    """A line of a list file, short enough for an error message."""
    return repr(printable(line[:60]))


def _look(path: Path) -> str:
    return shell_line("ls", "-l", path)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _key_with_hash(video: ListedVideo, root: Path | None) -> str:
    below = video.path.relative_to(root or video.path.parent.parent)
    name = name_text(below.as_posix())
    return f"{video.key[: _MAX_KEY - 9]}-{_hash(name)}"
