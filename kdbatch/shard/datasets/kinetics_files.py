"""Decides which files of a part of Kinetics are its videos, and of which class each one is.

Where the part has a list, the list gives the class of each video that it names, wherever the file
lies; the folder gives it for the others. Without a list, folders alone give classes.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdbatch.shard.datasets.class_names import ClassNames
from kdbatch.shard.datasets.folders import Folder, scan_folder
from kdbatch.shard.sources import name_text

ID_LENGTH = 11
DEPTH = 3  # folders below a part: some unpack each archive into a folder of its own
_REPLACEMENT = "replacement"


@dataclass(frozen=True, kw_only=True)
class VideoFile:
    """A file, with the names of the folders that it lies in, from the part's down.

    `is_replacement` is for those that stand in for corrupted ones, and `is_beside` for those of
    them that lie next to the parts and may belong to another part.
    """

    path: Path
    stem: str
    folders: tuple[str, ...]
    is_replacement: bool
    is_beside: bool = False


@dataclass(kw_only=True)
class Matched:
    """The videos with their classes, and files that a note tells of.

    `videos` include `elsewhere`, which are not in the folder of the class that the list gives them,
    and `by_folder`, which no list names. `twice` are stored in two classes, by their folders.
    `unlisted` and `spare` (further files of a listed video) are left out.
    """

    videos: list[tuple[VideoFile, str]] = field(default_factory=list)
    elsewhere: list[VideoFile] = field(default_factory=list)
    by_folder: list[VideoFile] = field(default_factory=list)
    twice: list[VideoFile] = field(default_factory=list)
    unlisted: list[VideoFile] = field(default_factory=list)
    spare: list[VideoFile] = field(default_factory=list)


def find_files(tree: Folder, root: Path) -> list[VideoFile]:
    """All files of a part, and those that CVDF publishes to replace corrupted ones.

    Its k400_extractor.sh puts these into replacement/replacement_for_corrupted_k400/ next to the
    parts; some move that folder into the part.
    """
    files = list(_walk(tree, (), is_beside=False))
    for name in (_REPLACEMENT, f"{_REPLACEMENT}_for_corrupted_k400"):
        if (root / name).is_dir():
            files += _walk(scan_folder(root / name, depth=DEPTH), (name,), is_beside=True)
    return files


def _walk(folder: Folder, names: tuple[str, ...], *, is_beside: bool) -> Iterator[VideoFile]:
    is_replacement = any(map(is_replacement_folder, names))
    for path in folder.videos:
        yield VideoFile(
            path=path,
            stem=name_text(path.stem),
            folders=names,
            is_replacement=is_replacement,
            is_beside=is_beside,
        )
    for below in folder.subfolders:
        yield from _walk(below, (*names, below.name), is_beside=is_beside)


def is_replacement_folder(name: str) -> bool:
    """Whether a folder has a name under which CVDF's replacements are unpacked."""
    plain = name.casefold().replace(" ", "_")
    return plain == _REPLACEMENT or plain.startswith(f"{_REPLACEMENT}_for_corrupted")


def class_name(folder: str) -> str:
    """The class that a folder is named after."""
    return folder.replace("_", " ")


def match_list(
    files: Sequence[VideoFile], class_of: Mapping[str, str], names: ClassNames
) -> Matched:
    """Match files with a list, which maps stems to classes."""
    matched, stem_of = Matched(), _stems_by_file_stem(class_of)
    candidates: defaultdict[str, list[VideoFile]] = defaultdict(list)
    for file in files:
        folder_class = _class_of_folders(file, names)
        if file.stem in stem_of:
            candidates[stem_of[file.stem]].append(file)
        elif folder_class is not None:
            matched.by_folder.append(file)
            matched.videos.append((file, folder_class))
        elif not file.is_beside:
            matched.unlisted.append(file)
    for stem, same in candidates.items():
        name = names.find(class_of[stem]) or class_of[stem]
        best = _best_file(same, name, names)
        matched.videos.append((best, name))
        matched.spare += [file for file in same if file is not best and not file.is_beside]
        if best.folders and not best.is_replacement and _class_of_folders(best, names) != name:
            matched.elsewhere.append(best)
    return matched


def match_folders(files: Sequence[VideoFile], names: ClassNames, *, source: str) -> Matched:
    """Take the class of each file from the folder that it lies in, directly below the part's."""
    matched = Matched()
    replacement_of: dict[str, VideoFile] = {}
    regular: defaultdict[str, list[tuple[VideoFile, str]]] = defaultdict(list)
    for file in files:
        if file.is_replacement:
            replacement_of[file.stem] = file
        elif len(file.folders) == 1:
            name = names.add(class_name(file.folders[0]), source=source)
            regular[file.stem].append((file, name))
        else:
            matched.unlisted.append(file)
    for stem, same in regular.items():
        replacement = replacement_of.pop(stem, None)
        if replacement and len(same) == 1:
            file, name = same[0]
            best = _best_file([file, replacement], name, names)
            matched.videos.append((best, name))
        else:
            matched.videos += same
            matched.twice += [file for file, name in same[1:] if name != same[0][1]]
    matched.unlisted += [file for file in replacement_of.values() if not file.is_beside]
    return matched


def owned_by_other_part(
    files: Sequence[VideoFile],
    part: str,
    class_of: Mapping[str, Mapping[str, str]],
    in_folders: Mapping[str, Iterable[str]],
) -> dict[VideoFile, None]:
    """The files of a part whose videos belong to the other part, so that no video is both trained
    on and tested with.

    A video belongs to the part whose list names it; to val, where both lists do, or neither does
    and both parts have it in a class folder. `class_of` has the lists by part, and `in_folders` the
    stems in class folders of parts without a list.
    """
    listed = {name: set(_stems_by_file_stem(class_of.get(name, {}))) for name in ("train", "val")}
    if part == "val":
        others = listed["train"] - listed["val"]
    else:
        others = listed["val"] | (set(in_folders.get("val", ())) - listed["train"])
    return {file: None for file in files if file.stem in others}


def _stems_by_file_stem(class_of: Mapping[str, str]) -> dict[str, str]:
    """The listed stem of each name that a file may have: the stem, or the id without the seconds
    that were cut out, where the id is of one class.
    """
    classes_of_id: defaultdict[str, set[str]] = defaultdict(set)
    for stem, name in class_of.items():
        classes_of_id[stem[:ID_LENGTH]].add(name)
    by_id = {
        stem[:ID_LENGTH]: stem for stem in class_of if len(classes_of_id[stem[:ID_LENGTH]]) == 1
    }
    return {**by_id, **{stem: stem for stem in class_of}}


def _class_of_folders(file: VideoFile, names: ClassNames) -> str | None:
    """The class that the innermost folder with the name of a class gives a file."""
    if file.is_replacement:
        return None
    found = (names.find(class_name(name)) for name in reversed(file.folders))
    return next((name for name in found if name is not None), None)


def _best_file(files: Sequence[VideoFile], name: str, names: ClassNames) -> VideoFile:
    """The one of several files of a video to store: a replacement, but none of 0 bytes, or else
    that in the folder of its class.
    """
    if len(files) == 1:  # without a look at the file: there are hundreds of thousands
        return files[0]

    def rank(file: VideoFile) -> tuple[bool, bool, bool, int, str]:
        in_own_folder = _class_of_folders(file, names) == name
        depth = len(file.folders)
        return (
            _is_empty(file.path),
            not file.is_replacement,
            not in_own_folder,
            depth,
            name_text(str(file.path)),
        )

    return min(files, key=rank)


def _is_empty(path: Path) -> bool:
    try:
        return path.stat().st_size == 0
    except OSError:
        return True
