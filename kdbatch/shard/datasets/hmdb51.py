"""Reads HMDB51: class folders, and three lists of tags per class."""

import unicodedata
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.shard.sources import (
    ListedVideo,
    Listing,
    checked_name,
    find_folder,
    find_list_file,
    list_videos,
    make_video,
    quoted,
    read_lines,
    unlisted_note,
    with_unique_keys,
)

_FOLDS = (1, 2, 3)
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
    videos: list[ListedVideo] = []
    unlisted: list[Path] = []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            raise UserError(
                f"{folder}: has no folder of the class {name!r}. "
                f"Each class is an archive of its own: unpack {name}.rar there."
            )
        splits_of = _read_splits(lists, name)
        paths, more_unlisted = _match_files(splits_of, folder / name)
        unlisted += more_unlisted
        for file, splits in splits_of.items():
            # Files are named <film>_<class>_<marks>_<number>.avi. Clips of one film are a group.
            film = file.split(f"_{name}_")[0]
            video = make_video(paths[file], label, splits=tuple(splits), part=part, group=film)
            videos.append(video)
    return Listing(
        classes=classes,
        videos=with_unique_keys(videos, where=folder),
        notes=unlisted_note(folder, unlisted),
    )


def _list_classes(lists: Path) -> tuple[str, ...]:
    """The classes that have a list of the first fold, sorted."""
    suffix = "_test_split1.txt"
    classes = tuple(sorted(path.name.removesuffix(suffix) for path in lists.glob(f"*{suffix}")))
    if not classes:
        raise UserError(
            f"{lists}: there is no list file <class>{suffix} in it. "
            "Unpack HMDB51's test_train_splits there."
        )
    return classes


def _match_files(files: dict[str, list[str]], folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """The path of each listed file, and the videos that are not listed.

    Names with accents have two spellings, composed and decomposed, which depend on the program
    that unpacked them.
    """
    on_disk = {unicodedata.normalize("NFC", path.name): path for path in list_videos(folder)}
    paths = {file: on_disk.pop(unicodedata.normalize("NFC", file), folder / file) for file in files}
    return paths, list(on_disk.values())


def _read_splits(lists: Path, name: str) -> dict[str, list[str]]:
    """The splits of each file of one class. File names may hold spaces; the tag comes last."""
    splits: dict[str, list[str]] = {}
    for fold in _FOLDS:
        list_path = find_list_file([lists / f"{name}_test_split{fold}.txt"])
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
