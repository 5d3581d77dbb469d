"""Reads HMDB51: class folders, and three lists of tags per class."""

import re
import unicodedata
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.shard.datasets.folders import Folder, hidden_note, is_hidden, scan_folder
from kdbatch.shard.sources import (
    ListedVideo,
    Listing,
    checked_name,
    find_folder,
    find_list_file,
    make_video,
    name_text,
    path_name,
    printable,
    quoted,
    read_lines,
    unlisted_note,
    with_unique_keys,
)

_FOLDS = (1, 2, 3)
_LIST_NAME = re.compile(r"(.+)_test_split[123]\.txt", re.DOTALL)
_KIND_OF_TAG = {"0": "", "1": "train", "2": "test"}  # 0: not used in this fold


def read_hmdb51(root: Path, part: str) -> Listing:
    """List HMDB51, with the splits of all three folds; labels are the ranks of sorted class names.

    The layout is `hmdb51_org/<class>/<file>.avi` and
    `testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt` with the tags 1 train, 2 test,
    0 unused.

    Raises:
        UserError: the layout is another one, or a list is damaged.
    """
    layout = "HMDB51, unpacked: hmdb51_org/<class>/<file>.avi"
    folder = find_folder(root, "hmdb51_org", layout=layout)
    layout = "HMDB51's splits: <class>_test_split1.txt, ..."
    lists = find_folder(root, "testTrainMulti_7030_splits", layout=layout)
    classes = _list_classes(lists)
    tree = scan_folder(folder, depth=1)
    folder_of = {below.name: below for below in tree.subfolders}
    videos: list[ListedVideo] = []
    unlisted: list[Path] = []
    for label, name in enumerate(classes):
        if name not in folder_of:
            raise UserError(
                f"{folder}: has no folder of the class {name!r}. "
                f"Each class is an archive of its own: unpack {name}.rar there."
            )
        splits_of = _read_splits(lists, name)
        paths, more_unlisted = _match_files(splits_of, folder_of[name])
        unlisted += more_unlisted
        for file, splits in splits_of.items():
            # Files are named <film>_<class>_<marks>_<number>.avi. Clips of one film are a group.
            film = file.split(f"_{name}_")[0]
            video = make_video(paths[file], label, splits=tuple(splits), part=part, group=film)
            videos.append(video)
    return Listing(
        classes=classes,
        videos=with_unique_keys(videos, where=folder),
        notes=(
            *unlisted_note(folder, [*unlisted, *tree.videos]),
            *_unlisted_classes_note(tree, classes),
            *hidden_note(tree),
        ),
    )


def _list_classes(lists: Path) -> tuple[str, ...]:
    """The classes that have a list of any fold, sorted."""
    found = (_LIST_NAME.fullmatch(name_text(path.name)) for path in lists.iterdir())
    classes = tuple(sorted({match[1] for match in found if match and not is_hidden(match[1])}))
    if not classes:
        raise UserError(
            f"{lists}: there is no list file <class>_test_split1.txt in it. "
            "Unpack HMDB51's test_train_splits there."
        )
    return classes


def _unlisted_classes_note(tree: Folder, classes: tuple[str, ...]) -> tuple[str, ...]:
    """A line on the folders whose class has no list; empty where there is none."""
    found = [below for below in tree.subfolders if below.videos and below.name not in classes]
    if not found:
        return ()
    num_videos = sum(len(below.videos) for below in found)
    return (
        f"{tree.path}: left out {plural(num_videos, 'video')} in "
        f"{plural(len(found), 'folder')} without list files, {printable(found[0].name)} first.",
    )


def _match_files(files: dict[str, list[str]], folder: Folder) -> tuple[dict[str, Path], list[Path]]:
    """The path of each listed file, and the videos that are not listed.

    Names with accents have two spellings, composed and decomposed, which depend on the program
    that unpacked them.
    """
    on_disk = {_composed(name_text(path.name)): path for path in folder.videos}
    absent = {file: folder.path / path_name(file) for file in files}
    paths = {file: on_disk.pop(_composed(file), path) for file, path in absent.items()}
    return paths, list(on_disk.values())


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _read_splits(lists: Path, name: str) -> dict[str, list[str]]:
    """The splits of each file of one class. File names may hold spaces; the tag comes last."""
    splits: dict[str, list[str]] = {}
    for fold in _FOLDS:
        list_path = find_list_file([lists / path_name(f"{name}_test_split{fold}.txt")])
        seen: set[str] = set()
        for number, line in enumerate(read_lines(list_path), 1):
            where = f"{list_path}: line {number}"
            file, _, tag = line.rpartition(" ")
            file = file.strip()
            if tag not in _KIND_OF_TAG or not file:
                raise UserError(
                    f"{where}: expected <file> and a tag 0, 1 or 2; found {quoted(line)}."
                )
            if file in seen:
                raise UserError(f"{where}: the video {quoted(file)} is listed more than once.")
            seen.add(checked_name(file, where=where))
            splits.setdefault(file, [])
            if kind := _KIND_OF_TAG[tag]:
                splits[file].append(f"{kind}{fold:02d}")
    return splits
