"""Reads Something-Something V2: numbered WebM files and JSON lists."""

from pathlib import Path
from typing import Any

from kdbatch.base.atomic_write import load_json, load_json_object
from kdbatch.base.errors import UserError
from kdbatch.shard.sources import (
    DOWNLOAD_AGAIN,
    Listing,
    checked_name,
    existing_list,
    find_folder,
    find_list_file,
    listed_number,
    make_video,
    path_name,
    with_unique_keys,
)

_FOLDER = "20bn-something-something-v2"


def read_ssv2(root: Path, part: str) -> Listing:
    """List a part of Something-Something V2, with labels as published.

    The layout is `20bn-something-something-v2/<id>.webm` and
    `labels/{labels,train,validation}.json`, or the older `something-something-v2-*.json`.

    Raises:
        UserError: the layout is another one, or a list is damaged.
    """
    folder = find_folder(root, _FOLDER, layout=f"Something-Something V2: {_FOLDER}/<id>.webm")
    label_path, list_path = _find_list(root, "labels"), _find_list(root, part)
    label_of = _read_labels(label_path)
    entries = load_json(list_path, advice=DOWNLOAD_AGAIN)
    if not isinstance(entries, list):
        raise UserError(f"{list_path}: expected a list of videos. {DOWNLOAD_AGAIN}")
    videos = []
    for number, entry in enumerate(entries):
        where = f"{list_path}: entry {number}"
        name = _class_name(entry, where=where)
        if name not in label_of:
            raise UserError(f"{where}: the class {name!r} is not in {label_path.name}.")
        path = folder / path_name(checked_name(f"{entry['id']}.webm", where=where))
        group = str(entry["id"])
        videos.append(make_video(path, label_of[name], splits=(part,), part=part, group=group))
    _check_other_list(root, part, {video.path.stem for video in videos}, where=str(list_path))
    classes = tuple(sorted(label_of, key=lambda name: label_of[name]))
    return Listing(classes=classes, videos=with_unique_keys(videos, where=list_path))


def _check_other_list(root: Path, part: str, ids: set[str], *, where: str) -> None:
    """Check that the list of the other part, if it is there, names none of these videos.

    Raises:
        UserError: it names one, which would be trained on and tested with.
    """
    other = "validation" if part == "train" else "train"
    path = existing_list(_candidates(root, other))
    entries = load_json(path, advice=DOWNLOAD_AGAIN) if path else []
    others = {str(entry.get("id")) for entry in entries if isinstance(entry, dict)}
    if both := sorted(ids & others):
        raise UserError(
            f"{where}: names {len(both)} videos that {path} names too, {both[0]} first, so they "
            f"would be trained on and tested with. {DOWNLOAD_AGAIN}"
        )


def _find_list(root: Path, name: str) -> Path:
    return find_list_file(_candidates(root, name))


def _candidates(root: Path, name: str) -> list[Path]:
    return [
        root / "labels" / f"{name}.json",
        root / f"{name}.json",
        root / f"something-something-v2-{name}.json",
    ]


def _read_labels(path: Path) -> dict[str, int]:
    """The label of each class name."""
    labels = load_json_object(path, advice=DOWNLOAD_AGAIN)
    number_of = {name: listed_number(str(number)) for name, number in labels.items()}
    label_of = {name: number for name, number in number_of.items() if number is not None}
    if not labels or sorted(label_of.values()) != list(range(len(labels))):
        raise UserError(
            f"{path}: expected class names with numbers from 0 without gaps, as published."
        )
    return label_of


def _class_name(entry: Any, *, where: str) -> str:
    if not (
        isinstance(entry, dict)
        and {"id", "template"} <= entry.keys()
        and isinstance(entry["id"], str | int)
        and not isinstance(entry["id"], bool)
        and entry["id"] != ""
        and isinstance(entry["template"], str)
    ):
        raise UserError(f"{where}: expected the fields id and template, found {str(entry)[:60]}.")
    # A template brackets the variable words; the class "Pushing something" is without brackets.
    return entry["template"].replace("[", "").replace("]", "")
