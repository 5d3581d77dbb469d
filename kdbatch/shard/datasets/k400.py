"""Reads Kinetics-400, as class folders or as the flat folders with CSV lists of CVDF's mirror."""

import csv
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.shard.sources import (
    Listing,
    find_folder,
    list_subfolders,
    list_videos,
    make_video,
    quoted,
    read_lines,
    unlisted_note,
    with_unique_keys,
)

PARTS = ("train", "val")
_LAYOUT = (
    "Kinetics-400: train/<class>/<id>_<start>_<end>.mp4 (or annotations/train.csv with train/*.mp4)"
)


def read_k400(root: Path, part: str) -> Listing:
    """List a part of Kinetics-400; a label is the rank of a class name among the sorted names.

    The layout is `<part>/<class>/<youtube-id>_<start>_<end>.mp4`, with `_` or spaces in the names
    of class folders; or flat `<part>/*.mp4` with `annotations/<part>.csv` (label, youtube_id,
    time_start, time_end, split), as CVDF mirrors it. A note counts the listed videos that are
    missing: no copy has those that YouTube had lost before.

    Raises:
        UserError: neither layout is there, or a CSV list is damaged.
    """
    folder = find_folder(root, part, layout=_LAYOUT)
    csvs = {name: path for name in PARTS if (path := _find_csv(root, name))}
    class_of = {name: _read_csv(path) for name, path in csvs.items()}
    names = {label for classes in class_of.values() for label in classes.values()}
    in_folders = {path: list_videos(path) for path in list_subfolders(folder)}
    if any(in_folders.values()) or (in_folders and part not in csvs):
        names |= {_class_name(path) for name in PARTS for path in list_subfolders(root / name)}
        found = [
            (path, _class_name(path.parent)) for paths in in_folders.values() for path in paths
        ]
        unlisted = list_videos(folder)
    elif part in csvs:
        found, unlisted = _match_csv(list_videos(folder), class_of[part])
    else:
        raise UserError(
            f"{folder}: has neither class folders nor annotations/{part}.csv next to it. "
            f"Expected {folder}/<class>/<id>.mp4"
        )
    classes = tuple(sorted(names))
    label_of = {name: label for label, name in enumerate(classes)}
    videos = [
        make_video(path, label_of[name], splits=(part,), part=part, group=_youtube_id(path.stem))
        for path, name in found
    ]
    notes = unlisted_note(folder, unlisted)
    if part in csvs:
        notes += _lost_note(csvs[part], class_of[part], [path.stem for path, _ in found])
    return Listing(classes=classes, videos=with_unique_keys(videos, where=folder), notes=notes)


def _find_csv(root: Path, part: str) -> Path | None:
    names = (part, "validate") if part == "val" else (part,)
    candidates = [
        folder / f"{name}.csv" for folder in (root / "annotations", root) for name in names
    ]
    return next((path for path in candidates if path.is_file()), None)


def _read_csv(path: Path) -> dict[str, str]:
    """The class of each file stem `<youtube-id>_<start, 6 digits>_<end, 6 digits>`."""
    class_of: dict[str, str] = {}
    for number, line in enumerate(read_lines(path)[1:], 2):
        cells = next(csv.reader([line], strict=False))
        if len(cells) < 4 or not (cells[2].isdecimal() and cells[3].isdecimal()):
            raise UserError(
                f"{path}: line {number}: expected label,youtube_id,time_start,time_end,split; "
                f"found {quoted(line)}."
            )
        stem = f"{cells[1]}_{int(cells[2]):06d}_{int(cells[3]):06d}"
        if class_of.setdefault(stem, cells[0]) != cells[0]:
            raise UserError(
                f"{path}: line {number}: {stem} was in the class {class_of[stem]!r} above, "
                f"here it is in {cells[0]!r}."
            )
    return class_of


def _match_csv(
    paths: Iterable[Path], class_of: Mapping[str, str]
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """The videos that a CSV list names, each with its class; and those that it does not name."""
    # Some copies name a file by the id alone, without the seconds that were cut out.
    by_id = {_youtube_id(stem): label for stem, label in class_of.items()}
    class_of = {**by_id, **class_of}
    found, unlisted = [], []
    for path in paths:
        if path.stem in class_of:
            found.append((path, class_of[path.stem]))
        else:
            unlisted.append(path)
    return found, unlisted


def _lost_note(path: Path, listed: Collection[str], stems: Iterable[str]) -> tuple[str, ...]:
    """A line on the listed videos that are not on disk; empty where all are."""
    on_disk = {_youtube_id(stem) for stem in stems}
    num_lost = sum(_youtube_id(stem) not in on_disk for stem in listed)
    if not num_lost:
        return ()
    return (
        f"{path}: {num_lost} of {len(listed)} listed videos are not on disk, "
        "as is usual for Kinetics.",
    )


def _class_name(folder: Path) -> str:
    return folder.name.replace("_", " ")


def _youtube_id(stem: str) -> str:
    return stem[:11]
