"""Lists the folders of a data set: videos and subfolders, without what systems and editors add.

Names are text under UTF-8 whatever the locale is, so that keys, order and tars are the same on
every node. File names are bytes; those that are not UTF-8 become surrogates.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from kdbatch.base.text import plural
from kdbatch.shard.sources import VIDEO_SUFFIXES, name_text, path_name, printable

# Names that do not begin with a dot: of macOS's archives, of file systems, of network storage
# (Synology, QNAP) and of Windows.
_SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "lost+found",
        "@eadir",
        "@recycle",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
    }
)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder's videos and subfolders, sorted by name as text.

    `name` is that text. `hidden_videos` are the names of files that look like videos but are
    hidden, or lie in a hidden folder directly below. `links` are the names of links to folders that
    are scanned under another name.
    """

    path: Path
    name: str
    videos: tuple[Path, ...]
    subfolders: tuple["Folder", ...]
    hidden_videos: tuple[str, ...]
    links: tuple[str, ...] = ()

    def walk(self) -> Iterator["Folder"]:
        """This folder and all that were scanned below it."""
        yield self
        for subfolder in self.subfolders:
            yield from subfolder.walk()

    @property
    def has_videos(self) -> bool:
        return any(folder.videos for folder in self.walk())


def scan_folder(path: Path, *, depth: int, seen: set[str] | None = None) -> Folder:
    """List a folder, and its subfolders `depth` levels down.

    Links are followed, but for those to a folder that is scanned anyway, or that lies around this
    one: their videos would count twice, in two classes. `seen` are the folders that were scanned.

    Raises:
        OSError: one of them cannot be listed.
    """
    videos, subfolders, hidden, links = [], [], [], []
    seen = {os.path.realpath(path)} if seen is None else seen
    with os.scandir(path) as entries:
        # A folder with the suffix of a video is a broken video.
        listed = [
            (name_text(e.name), _is_video(e.name) or not e.is_dir(), e.is_symlink())
            for e in entries
        ]
    for name, is_file, is_link in sorted(listed):
        below = path / path_name(name)
        if is_hidden(name):
            hidden += [name] * (is_file and _is_video(name)) + ([] if is_file else _peek(below))
        elif is_file:
            videos += [below] * _is_video(name)
        elif is_link and _is_seen(below, seen):
            links.append(name)
        elif depth:
            subfolders.append(scan_folder(below, depth=depth - 1, seen=seen))
    return Folder(
        path=path,
        name=name_text(path.name),
        videos=tuple(videos),
        subfolders=tuple(subfolders),
        hidden_videos=tuple(hidden),
        links=tuple(links),
    )


def _is_seen(link: Path, seen: set[str]) -> bool:
    """Whether a link leads into a folder that was seen, or to one around it; if not, add it."""
    target = os.path.realpath(link)
    is_seen = any(os.path.commonpath((target, each)) in (target, each) for each in seen)
    seen.add(target)
    return is_seen


def is_hidden(name: str) -> bool:
    """Whether a name is one that systems and editors give to files of their own."""
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def hidden_note(folder: Folder) -> tuple[str, ...]:
    """Lines on hidden files that look like videos, and on links that are not followed."""
    names = [name for below in folder.walk() for name in below.hidden_videos]
    links = [name for below in folder.walk() for name in below.links]
    files = plural(len(names), "hidden file")
    hidden = f"{files} with the name of a video, {printable(names[0])} first" if names else ""
    folders = plural(len(links), "link")
    followed = f"{folders} to folders listed anyway, {printable(links[0])} first" if links else ""
    return tuple(f"{folder.path}: left out {each}." for each in (hidden, followed) if each)


def _is_video(name: str) -> bool:
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def _peek(hidden: Path) -> list[str]:
    """The names in a hidden folder that look like those of videos."""
    try:
        names = sorted(name_text(path.name) for path in hidden.iterdir())
    except OSError:
        return []
    return [f"{name_text(hidden.name)}/{name}" for name in names if _is_video(name)]
