"""Reads the four data sets in the layouts in which their owners publish them. One function per data
set, one line in READERS.

To add one: a function that lists its videos, a line in READERS, and its entry in vocab/datasets.py.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.shard.sources import (
    Listing,
    checked_name,
    find_folder,
    find_list_file,
    make_video,
    quoted,
    read_lines,
    subfolders,
    unlisted_note,
    videos_in,
    with_unique_keys,
)

FOLDS = (1, 2, 3)


def read_k400(root: Path, part: str) -> Listing:
    """`train/<class>/<youtube-id>_<start>_<end>.mp4`, `val/...`; class folders may have _ for
    spaces. Labels: class names sorted.

    Or flat `train/*.mp4` beside `annotations/train.csv` (label, youtube_id, time_start, time_end,
    split), as CVDF mirrors it. Videos that YouTube no longer had when a copy was made are missing
    from every copy: they are counted, not rejected.
    """
    folder = find_folder(
        root,
        part,
        holds="Kinetics-400: train/<class>/<id>_<start>_<end>.mp4 (or annotations/train.csv with train/*.mp4)",
    )
    csvs = {name: path for name in ("train", "val") if (path := _k400_csv(root, name))}
    class_of = {name: _k400_classes(path) for name, path in csvs.items()}
    names = {label for classes in class_of.values() for label in classes.values()}
    in_class = {path: videos_in(path) for path in subfolders(folder)}
    if any(in_class.values()) or (in_class and part not in csvs):
        names |= {
            path.name.replace("_", " ")
            for name in ("train", "val")
            for path in subfolders(root / name)
        }
        found = [
            (path, class_folder.name.replace("_", " "))
            for class_folder, paths in in_class.items()
            for path in paths
        ]
        left_out = videos_in(folder)
    elif part in csvs:
        # Some copies keep the id alone as a name, without the seconds that were cut out.
        named = {
            **{_youtube_id(stem): label for stem, label in class_of[part].items()},
            **class_of[part],
        }
        found = [(path, named[path.stem]) for path in videos_in(folder) if path.stem in named]
        left_out = [path for path in videos_in(folder) if path.stem not in named]
    else:
        raise UserError(
            f"{folder}: has neither class folders nor annotations/{part}.csv beside it. Expected {folder}/<class>/<id>.mp4"
        )
    place = {name: i for i, name in enumerate(sorted(names))}
    rows = [
        make_video(path, place[name], splits=(part,), part=part, group=_youtube_id(path.stem))
        for path, name in found
    ]
    notes = unlisted_note(folder, left_out) + _k400_missing(
        csvs.get(part), class_of.get(part, ()), [path.stem for path, _ in found]
    )
    return Listing(classes=tuple(place), videos=with_unique_keys(rows, where=folder), notes=notes)


def _k400_csv(root: Path, part: str) -> Path | None:
    names = (part, "validate") if part == "val" else (part,)
    return next(
        (
            path
            for folder in (root / "annotations", root)
            for name in names
            if (path := folder / f"{name}.csv").is_file()
        ),
        None,
    )


def _k400_classes(path: Path) -> dict[str, str]:
    """The class of each file stem `<youtube-id>_<start, 6 digits>_<end, 6 digits>`."""
    class_of: dict[str, str] = {}
    for number, line in enumerate(read_lines(path)[1:], 2):
        cells = next(csv.reader([line], strict=False))
        if len(cells) < 4 or not (cells[2].isdecimal() and cells[3].isdecimal()):
            raise UserError(
                f"{path}: line {number}: expected label,youtube_id,time_start,time_end,split; found {quoted(line)}."
            )
        stem = f"{cells[1]}_{int(cells[2]):06d}_{int(cells[3]):06d}"
        if class_of.setdefault(stem, cells[0]) != cells[0]:
            raise UserError(
                f"{path}: line {number}: {stem} was in the class {class_of[stem]!r} above, here it is in {cells[0]!r}."
            )
    return class_of


def _k400_missing(
    path: Path | None, listed: Collection[str], stems: Iterable[str]
) -> tuple[str, ...]:
    there = {_youtube_id(stem) for stem in stems}
    missing = sum(_youtube_id(stem) not in there for stem in listed)
    return (
        (
            f"{path}: {missing} of {len(listed)} listed videos are not on disk, as is usual for Kinetics.",
        )
        if missing
        else ()
    )


def _youtube_id(stem: str) -> str:
    return stem[:11]


def read_ssv2(root: Path, part: str) -> Listing:
    """`20bn-something-something-v2/<id>.webm` and `labels/{labels,train,validation}.json` (or the
    older something-something-v2-*.json).
    """
    folder = find_folder(
        root,
        "20bn-something-something-v2",
        holds="Something-Something V2: 20bn-something-something-v2/<id>.webm",
    )
    label_path, list_path = _ssv2_list(root, "labels"), _ssv2_list(root, part)
    labels = load_json(label_path)
    numbers = labels.values() if isinstance(labels, dict) else ()
    if (
        not labels
        or not all(str(n).isdecimal() for n in numbers)
        or sorted(map(int, numbers)) != list(range(len(labels)))
    ):
        raise UserError(
            f"{label_path}: expected class names with numbers from 0 without gaps, as published."
        )
    entries = load_json(list_path)
    rows = []
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or not {"id", "template"} <= entry.keys():
            raise UserError(
                f"{list_path}: entry {place}: expected the fields id and template, found {str(entry)[:60]}."
            )
        # A template marks what varies, "Pushing [something]", where the class is "Pushing
        # something".
        name = str(entry["template"]).replace("[", "").replace("]", "")
        if name not in labels:
            raise UserError(
                f"{list_path}: entry {place}: the class {name!r} is not in {label_path.name}."
            )
        path = folder / checked_name(f"{entry['id']}.webm", where=f"{list_path}: entry {place}")
        rows.append(
            make_video(path, int(labels[name]), splits=(part,), part=part, group=str(entry["id"]))
        )
    classes = tuple(sorted(labels, key=lambda name: int(labels[name])))
    return Listing(classes=classes, videos=with_unique_keys(rows, where=list_path))


def _ssv2_list(root: Path, name: str) -> Path:
    return find_list_file(
        [
            root / "labels" / f"{name}.json",
            root / f"{name}.json",
            root / f"something-something-v2-{name}.json",
        ]
    )


def read_ucf101(root: Path, part: str) -> Listing:
    """`UCF-101/<Class>/v_<Class>_gXX_cYY.avi`; `ucfTrainTestlist/classInd.txt` counts from 1; fold
    lists name class folder and file.

    One class is spelt HandstandPushups as a folder and HandStandPushups in its files, and copies
    differ: case does not count here.
    """
    folder = find_folder(root, "UCF-101", holds="UCF101: UCF-101/<Class>/v_<Class>_gXX_cYY.avi")
    lists = find_folder(
        root,
        "ucfTrainTestlist",
        holds="UCF101's fold lists: classInd.txt, trainlist01.txt, testlist01.txt, ...",
    )
    classes = _ucf101_classes(find_list_file([lists / "classInd.txt"]))
    place = {name.casefold(): i for i, name in enumerate(classes)}
    on_disk = {
        f"{path.parent.name}/{path.name}".casefold(): path
        for name in subfolders(folder)
        for path in videos_in(name)
    }
    splits: defaultdict[Path, list[str]] = defaultdict(list)
    label_of: dict[Path, int] = {}
    for split, list_path in [
        (f"{kind}{f:02d}", lists / f"{kind}list{f:02d}.txt")
        for f in FOLDS
        for kind in ("train", "test")
    ]:
        for number, line in enumerate(read_lines(find_list_file([list_path])), 1):
            name, _, label = line.partition(" ")
            class_name = name.split("/")[0].casefold()
            if class_name not in place or "/" not in name:
                raise UserError(
                    f"{list_path}: line {number}: expected <Class>/<file> of a class in classInd.txt, found {quoted(line)}."
                )
            if label and label.strip() != str(place[class_name] + 1):
                raise UserError(
                    f"{list_path}: line {number}: {quoted(line)} disagrees with classInd.txt, where it is {place[class_name] + 1}."
                )
            path = on_disk.get(
                name.casefold(), folder / checked_name(name, where=f"{list_path}: line {number}")
            )
            if split in splits[path]:
                raise UserError(
                    f"{list_path}: line {number}: the video {quoted(name)} is listed more than once."
                )
            splits[path].append(split)
            label_of[path] = place[class_name]
    rows = []
    for path, label in label_of.items():
        group = re.sub(r"_c\d+$", "", path.stem)
        rows.append(make_video(path, label, splits=tuple(splits[path]), part=part, group=group))
    notes = unlisted_note(folder, [path for path in on_disk.values() if path not in label_of])
    return Listing(classes=classes, videos=with_unique_keys(rows, where=folder), notes=notes)


def _ucf101_classes(path: Path) -> tuple[str, ...]:
    """Class names by their numbers."""
    rows = [line.split() for line in read_lines(path)]
    if not rows or not all(len(row) == 2 and row[0].isdecimal() for row in rows):
        raise UserError(f"{path}: expected a number and a class name on each line, as published.")
    names = {int(number): name for number, name in rows}
    if sorted(names) != list(range(1, len(rows) + 1)):
        raise UserError(
            f"{path}: expected the numbers from 1 to {len(rows)}, once each, as published."
        )
    return tuple(names[number] for number in sorted(names))


def read_hmdb51(root: Path, part: str) -> Listing:
    """`hmdb51_org/<class>/<file>.avi`; `testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt`
    with tags 1 train, 2 test, 0 unused.
    """
    folder = find_folder(
        root, "hmdb51_org", holds="HMDB51, unpacked: hmdb51_org/<class>/<file>.avi"
    )
    lists = find_folder(
        root, "testTrainMulti_7030_splits", holds="HMDB51's splits: <class>_test_split1.txt, ..."
    )
    classes = tuple(
        sorted(
            path.name.removesuffix("_test_split1.txt") for path in lists.glob("*_test_split1.txt")
        )
    )
    if not classes:
        raise UserError(
            f"{lists}: there is no list file <class>_test_split1.txt in it. Unpack HMDB51's test_train_splits there."
        )
    rows, left_out = [], []
    for label, name in enumerate(classes):
        if not (folder / name).is_dir():
            raise UserError(
                f"{folder}: has no folder of the class {name!r}. Each class is an archive of its own: unpack {name}.rar there."
            )
        splits = _hmdb51_splits(lists, name)
        # Names with marks on letters come in two spellings, composed and decomposed, depending on
        # who unpacked them.
        on_disk = {
            unicodedata.normalize("NFC", path.name): path for path in videos_in(folder / name)
        }
        paths = {
            file: on_disk.pop(unicodedata.normalize("NFC", file), folder / name / file)
            for file in splits
        }
        left_out += on_disk.values()
        # Files are named <film>_<class>_<marks>_<number>.avi: what stands before the class is the
        # film.
        rows += [
            make_video(
                paths[file], label, splits=tuple(found), part=part, group=file.split(f"_{name}_")[0]
            )
            for file, found in splits.items()
        ]
    return Listing(
        classes=classes,
        videos=with_unique_keys(rows, where=folder),
        notes=unlisted_note(folder, left_out),
    )


def _hmdb51_splits(lists: Path, name: str) -> dict[str, list[str]]:
    """The splits of each file of one class. Names may hold spaces; the tag comes last."""
    splits: dict[str, list[str]] = {}
    for fold in FOLDS:
        list_path = find_list_file([lists / f"{name}_test_split{fold}.txt"])
        seen: set[str] = set()
        for number, line in enumerate(read_lines(list_path), 1):
            file, _, tag = line.rpartition(" ")
            file = file.strip()
            if tag not in ("0", "1", "2") or not file:
                raise UserError(
                    f"{list_path}: line {number}: expected <file> and a tag 0, 1 or 2; found {quoted(line)}."
                )
            if file in seen:
                raise UserError(
                    f"{list_path}: line {number}: the video {quoted(file)} is listed more than once."
                )
            seen.add(checked_name(file, where=f"{list_path}: line {number}"))
            splits.setdefault(file, [])
            if tag != "0":
                splits[file].append(f"{'train' if tag == '1' else 'test'}{fold:02d}")
    return splits


READERS: Mapping[str, Callable[[Path, str], Listing]] = {
    "k400": read_k400,
    "ssv2": read_ssv2,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
}
