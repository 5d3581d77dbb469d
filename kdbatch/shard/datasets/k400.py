"""Reads Kinetics-400, as class folders or as the flat folders with CSV lists of CVDF's mirror."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.shard.datasets.class_names import ClassNames
from kdbatch.shard.datasets.folders import Folder, hidden_note, scan_folder
from kdbatch.shard.datasets.kinetics_files import (
    DEPTH,
    ID_LENGTH,
    Matched,
    VideoFile,
    class_name,
    find_files,
    is_replacement_folder,
    match_folders,
    match_list,
    owned_by_other_part,
)
from kdbatch.shard.sources import (
    DOWNLOAD_AGAIN,
    ListedVideo,
    Listing,
    existing_list,
    find_folder,
    listed_number,
    make_video,
    name_text,
    printable,
    quoted,
    read_lines,
    unlisted_note,
    with_unique_keys,
)

PARTS = ("train", "val")
_LAYOUT = (
    "Kinetics-400: train/<class>/<id>_<start>_<end>.mp4 (or annotations/train.csv with train/*.mp4)"
)
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def read_k400(root: Path, part: str) -> Listing:
    """List a part of Kinetics-400; a label is the rank of a class name among the sorted names.

    The layout is `<part>/<class>/<youtube-id>_<start>_<end>.mp4`, with `_` or spaces in the names
    of class folders; or flat `<part>/*.mp4` with `annotations/<part>.csv` (label, youtube_id,
    time_start, time_end, split), as CVDF mirrors it; or a mixture, in which lists and folders
    decide together about each video (see `kinetics_files`). Notes count what is missing, left out
    or spelt in two ways.

    Raises:
        UserError: neither layout is there, or a CSV list is damaged.
    """
    folder = find_folder(root, part, layout=_LAYOUT)
    csvs = {name: path for name in PARTS if (path := _find_csv(root, name))}
    class_of = {name: _read_csv(path) for name, path in csvs.items()}
    names = _listed_names(csvs, class_of)
    tree = scan_folder(folder, depth=DEPTH)
    files = find_files(tree, root)
    in_folders: dict[str, set[str]] = {}
    for name in PARTS:  # always in this order, so that every part gives equal classes
        if name not in csvs:
            below = tree if name == part else _scan_other_part(root / name)
            in_folders[name] = _add_folders(below, root / name, names)
    foreign = owned_by_other_part(files, part, class_of, in_folders)
    files = [file for file in files if file not in foreign] if foreign else files
    if part in csvs:
        listed = _without(class_of[part], class_of.get("val", {}) if part == "train" else {})
        matched = match_list(files, listed, names)
        _note_spellings(tree, names)
        notes = _list_notes(csvs[part], listed, matched, folder)
    else:
        matched = match_folders(files, names, source=str(folder))
        _check_folders_give_classes(folder, part, matched)
        notes = _folder_notes(tree, matched, names)
    if not matched.videos and notes:
        raise UserError(f"No video can be stored. {notes[0]}")
    return Listing(
        classes=names.classes,
        videos=with_unique_keys(_videos(matched, names, part), where=folder),
        notes=(
            *notes,
            *_foreign_note(folder, part, foreign),
            *_replacement_note(folder, matched),
            *names.notes(),
            *hidden_note(tree),
        ),
    )


def _listed_names(
    csvs: Mapping[str, Path], class_of: Mapping[str, Mapping[str, str]]
) -> ClassNames:
    names = ClassNames()
    for name, path in csvs.items():
        for label in sorted(set(class_of[name].values())):
            names.add(label, source=str(path))
    return names


def _videos(matched: Matched, names: ClassNames, part: str) -> list[ListedVideo]:
    label_of = {name: label for label, name in enumerate(names.classes)}
    found = sorted(matched.videos, key=lambda found: name_text(str(found[0].path)))
    return [
        make_video(
            file.path, label_of[name], splits=(part,), part=part, group=file.stem[:ID_LENGTH]
        )
        for file, name in found
    ]


def _scan_other_part(folder: Path) -> Folder | None:
    return scan_folder(folder, depth=1) if folder.is_dir() else None


def _add_folders(tree: Folder | None, folder: Path, names: ClassNames) -> set[str]:
    """Add the names of the class folders of a part without a list; those without videos are none.

    Returns the stems of the videos in them.
    """
    stems: set[str] = set()
    for below in tree.subfolders if tree else ():
        if below.videos and not is_replacement_folder(below.name):
            names.add(class_name(below.name), source=str(folder))
            stems.update(name_text(path.stem) for path in below.videos)
    return stems


def _without(class_of: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """The list of a part without the videos that another list names."""
    return {stem: name for stem, name in class_of.items() if stem not in others}


def _note_spellings(tree: Folder, names: ClassNames) -> None:
    """Remember the class folders that spell their class in another way than the list."""
    for below in tree.walk():
        name = class_name(below.name)
        if below is not tree and below.videos and (known := names.find(name)):
            names.note_spelling(name, known, source=str(tree.path))


def _find_csv(root: Path, part: str) -> Path | None:
    names = (part, "validate") if part == "val" else (part,)
    candidates = [
        folder / f"{name}.csv" for folder in (root / "annotations", root) for name in names
    ]
    return existing_list(candidates)


def _read_csv(path: Path) -> dict[str, str]:
    """The class of each file stem `<youtube-id>_<start, 6 digits>_<end, 6 digits>`.

    A list without the published header is read as well: its first line is a video.
    """
    class_of: dict[str, str] = {}
    columns = range(len(_COLUMNS))
    for number, line in enumerate(read_lines(path), 1):
        cells = _cells(line, where=f"{path}: line {number}")
        plain = [cell.strip().casefold() for cell in cells]
        if number == 1 and set(_COLUMNS) <= set(plain):
            columns = [plain.index(name) for name in _COLUMNS]
            continue
        label, youtube_id, *times = [
            cells[column] if column < len(cells) else "" for column in columns
        ]
        start, end = map(listed_number, times)
        if not label or not youtube_id or start is None or end is None:
            raise UserError(
                f"{path}: line {number}: expected {','.join(_COLUMNS)},split; "
                f"found {quoted(line)}. {DOWNLOAD_AGAIN}"
            )
        stem = f"{youtube_id}_{start:06d}_{end:06d}"
        if class_of.setdefault(stem, label) != label:
            raise UserError(
                f"{path}: line {number}: {stem} was in the class {class_of[stem]!r} above, "
                f"here it is in {label!r}."
            )
    return class_of


def _cells(line: str, *, where: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=False))
    except csv.Error as error:
        raise UserError(f"{where}: is no line of a CSV list ({error}). {DOWNLOAD_AGAIN}") from error


def _check_folders_give_classes(folder: Path, part: str, matched: Matched) -> None:
    """Check that the class of most videos is known, of a part without a list.

    Raises:
        UserError: it is not.
    """
    num_known, num_unknown = len(matched.videos), len(matched.unlisted)
    if num_unknown and num_unknown >= num_known:
        raise UserError(
            f"{folder}: has no annotations/{part}.csv next to it, and {num_unknown} of its "
            f"{num_known + num_unknown} videos are not in class folders, so their classes are not "
            f"known; the first is {printable(_place(matched.unlisted[0]))}. Put the list there, or "
            f"the videos into {folder}/<class>/<id>.mp4"
        )
    if not num_known and not any(path.is_dir() for path in folder.iterdir()):
        raise UserError(
            f"{folder}: has neither class folders nor annotations/{part}.csv next to it. "
            f"Expected {folder}/<class>/<id>.mp4"
        )


def _list_notes(
    path: Path, class_of: Mapping[str, str], matched: Matched, folder: Path
) -> tuple[str, ...]:
    """Lines on what list and folders do not agree about."""
    on_disk = {file.stem[:ID_LENGTH] for file, _ in matched.videos}
    num_lost = sum(stem[:ID_LENGTH] not in on_disk for stem in class_of)
    lost = f"{path}: {num_lost} of {len(class_of)} listed videos were not found below {folder}/."
    return (
        *unlisted_note(folder, [file.path for file in matched.unlisted]),
        *_note(
            matched.by_folder,
            f"{folder}: took the class of",
            f"from the folder, as {path.name} does not list them",
        ),
        *_note(
            matched.elsewhere,
            f"{folder}: took the class of",
            f"from {path.name}, as they are not in a folder of that class",
        ),
        *_note(
            matched.spare,
            f"{folder}: left out",
            "with the name of a listed video that is stored from another file",
        ),
        *((lost,) if num_lost else ()),
    )


def _folder_notes(tree: Folder, matched: Matched, names: ClassNames) -> tuple[str, ...]:
    """Lines on files and folders that give no class."""
    empty = [
        below.name
        for below in tree.subfolders
        if not below.has_videos and names.find(class_name(below.name)) is None
    ]
    folders = f"{plural(len(empty), 'folder')} without a video"
    return (
        *_note(matched.unlisted, f"{tree.path}: left out", "outside of class folders"),
        *_note(
            matched.twice,
            f"{tree.path}: stored",
            "in two classes, because two class folders have them",
        ),
        *(
            (f"{tree.path}: {folders} not counted as classes, {printable(empty[0])} first.",)
            if empty
            else ()
        ),
    )


def _foreign_note(folder: Path, part: str, foreign: Iterable[VideoFile]) -> tuple[str, ...]:
    """A line on the files that belong to the other part; empty where there is none."""
    other = next(name for name in PARTS if name != part)
    files = [file for file in foreign if not file.is_beside]
    return _note(files, f"{folder}: left out", f"of the part {other}")


def _replacement_note(folder: Path, matched: Matched) -> tuple[str, ...]:
    """A line on the videos that are stored from CVDF's replacements; empty where there is none."""
    files = [file for file, _ in matched.videos if file.is_replacement]
    if not files:
        return ()
    videos, source = plural(len(files), "video"), files[0].path.parent
    are = "is" if len(files) == 1 else "are"
    return (
        f"{folder}: {videos} {are} stored from {source}/, the replacements of corrupted files.",
    )


def _note(files: Sequence[VideoFile], before: str, after: str) -> tuple[str, ...]:
    """A line on these files, with their number in the middle; empty where there is none."""
    if not files:
        return ()
    videos, first = plural(len(files), "video"), printable(_place(files[0]))
    return (f"{before} {videos} {after}; the first is {first}.",)


def _place(file: VideoFile) -> str:
    return "/".join((*file.folders, name_text(file.path.name)))
