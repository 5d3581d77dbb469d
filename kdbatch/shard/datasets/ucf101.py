"""Reads UCF101: class folders, numbered classes and the lists of three folds."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets.folders import Folder, hidden_note, scan_folder
from kdbatch.shard.sources import (
    DOWNLOAD_AGAIN,
    Listing,
    checked_name,
    find_folder,
    find_list_file,
    listed_number,
    make_video,
    name_text,
    path_name,
    quoted,
    read_lines,
    unlisted_note,
    with_unique_keys,
)

_LIST_OF_SPLIT = {
    f"{kind}{fold:02d}": f"{kind}list{fold:02d}.txt"
    for fold in (1, 2, 3)
    for kind in ("train", "test")
}


def read_ucf101(root: Path, part: str) -> Listing:
    """List UCF101, with the splits of all three folds; a label is the published number less 1.

    The layout is `UCF-101/<Class>/v_<Class>_gXX_cYY.avi`, `ucfTrainTestlist/classInd.txt` with
    numbers from 1, and fold lists that name class folder and file.

    Case is ignored: one class is spelt HandstandPushups as a folder and HandStandPushups in its
    files, and copies differ in this.

    Raises:
        UserError: the layout is another one, or a list is damaged.
    """
    folder = find_folder(root, "UCF-101", layout="UCF101: UCF-101/<Class>/v_<Class>_gXX_cYY.avi")
    lists = find_folder(
        root,
        "ucfTrainTestlist",
        layout="UCF101's fold lists: classInd.txt, trainlist01.txt, testlist01.txt, ...",
    )
    classes = _read_classes(find_list_file([lists / "classInd.txt"]))
    label_of_name = {name.casefold(): label for label, name in enumerate(classes)}
    tree = scan_folder(folder, depth=1)
    on_disk = _videos_on_disk(tree)
    splits: defaultdict[Path, list[str]] = defaultdict(list)
    label_of: dict[Path, int] = {}
    for split, list_name in _LIST_OF_SPLIT.items():
        list_path = find_list_file([lists / list_name])
        for number, line in enumerate(read_lines(list_path), 1):
            where = f"{list_path}: line {number}"
            name, label = _parse_line(line, label_of_name, where=where)
            path = _find_video(on_disk, folder, checked_name(name, where=where))
            if split in splits[path]:
                raise UserError(f"{where}: the video {quoted(name)} is listed more than once.")
            if both := next((s for s in splits[path] if s[-2:] == split[-2:]), None):
                raise UserError(
                    f"{where}: the video {quoted(name)} is in {_LIST_OF_SPLIT[both]} too, so it "
                    f"would be trained on and tested with. {DOWNLOAD_AGAIN}"
                )
            splits[path].append(split)
            label_of[path] = label
    videos = []
    for path, label in label_of.items():
        group = re.sub(r"_c\d+$", "", name_text(path.stem))
        videos.append(make_video(path, label, splits=tuple(splits[path]), part=part, group=group))
    found = [path for paths in on_disk.values() for path in paths]
    unlisted = [path for path in (*found, *tree.videos) if path not in label_of]
    notes = (*unlisted_note(folder, unlisted), *hidden_note(tree))
    return Listing(classes=classes, videos=with_unique_keys(videos, where=folder), notes=notes)


def _read_classes(path: Path) -> tuple[str, ...]:
    """Class names in the order of their numbers."""
    rows = [line.split() for line in read_lines(path)]
    if not all(len(row) == 2 and listed_number(row[0]) is not None for row in rows):
        raise UserError(f"{path}: expected a number and a class name on each line, as published.")
    names = {int(number): name for number, name in rows}
    if sorted(names) != list(range(1, len(rows) + 1)):
        raise UserError(
            f"{path}: expected the numbers from 1 to {len(rows)}, once each, as published."
        )
    return tuple(names[number] for number in sorted(names))


def _videos_on_disk(tree: Folder) -> dict[str, list[Path]]:
    """The videos by class folder and file name, without case."""
    paths: defaultdict[str, list[Path]] = defaultdict(list)
    for folder in tree.subfolders:
        for path in folder.videos:
            paths[f"{folder.name}/{name_text(path.name)}".casefold()].append(path)
    return paths


def _find_video(on_disk: Mapping[str, list[Path]], folder: Path, name: str) -> Path:
    """The video of this name; of several that differ in case, the one that is spelt so, or the
    first.
    """
    listed = folder / path_name(name)
    paths = on_disk.get(name.casefold(), [listed])
    return listed if listed in paths else paths[0]


def _parse_line(line: str, label_of_name: Mapping[str, int], *, where: str) -> tuple[str, int]:
    """`<Class>/<file>` and the label; the number that a training list adds must agree with it."""
    name, number = [*line.split(maxsplit=1), ""][:2]  # copies have tabs in place of blanks
    class_name = name.split("/")[0].casefold()
    if class_name not in label_of_name or "/" not in name:
        raise UserError(
            f"{where}: expected <Class>/<file> of a class in classInd.txt, found {quoted(line)}."
        )
    label = label_of_name[class_name]
    if number and number.strip() != str(label + 1):
        raise UserError(
            f"{where}: {quoted(line)} disagrees with classInd.txt, where it is {label + 1}."
        )
    return name, label
