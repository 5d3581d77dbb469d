"""Reads the four data sets in the layouts in which their owners publish them. One function per data set, one line in READERS.

To add one: a function that lists its videos, a line in READERS, and its entry in vocab/datasets.py.
"""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.vocab.errors import UserError
from kdbatch.vocab.publish import load_json

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".3gp", ".flv"})
FOLDS = (1, 2, 3)
_MAX_KEY = 80  # a tar header has room for 100 bytes of name, and the key gets a suffix


@dataclass(frozen=True, kw_only=True)
class Source:
    """A video as published. Videos of one `group` show one scene or one person, so they must not be parted between training and test."""

    key: str
    path: Path
    label: int
    splits: tuple[str, ...]
    group: str
    part: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All videos of one part, and all classes of the data set in published order. Videos named by a list may be missing on disk."""

    classes: tuple[str, ...]
    sources: tuple[Source, ...]


def read_k400(root: Path, part: str) -> Listing:
    """`train/<class>/<youtube-id>_<start>_<end>.mp4`, `val/...`; class folders may have _ for spaces. Labels: class names sorted.

    Or flat `train/*.mp4` beside `annotations/train.csv` (label, youtube_id, time_start, time_end, split), as CVDF mirrors it.
    """
    folder = _folder(root, part, holds="Kinetics-400: train/<class>/<id>_<start>_<end>.mp4 (or annotations/train.csv with train/*.mp4)")
    csvs = [path for name in ("train", "val") if (path := root / "annotations" / f"{name}.csv").is_file()]
    class_folders = sorted(path for path in folder.iterdir() if path.is_dir())
    if class_folders:
        names = {path.name.replace("_", " ") for name in ("train", "val") for path in _subfolders(root / name)}
        found = [(path, folder.name.replace("_", " ")) for folder in class_folders for path in _videos(folder)]
    elif csvs:
        names, label_of = _cvdf_labels(csvs)
        found = [(path, label_of[path.stem]) for path in _videos(folder) if path.stem in label_of]
    else:
        raise UserError(f"{folder}: has neither class folders nor annotations/{part}.csv beside it. Expected {folder}/<class>/<id>.mp4")
    place = {name: i for i, name in enumerate(sorted(names))}
    rows = [_source(path, place[name], splits=(part,), part=part, group=path.stem[:11]) for path, name in found]
    return Listing(classes=tuple(place), sources=_with_keys(rows, where=folder))


def _cvdf_labels(csvs: Iterable[Path]) -> tuple[set[str], dict[str, str]]:
    """Class names, and the class of each file stem `<youtube-id>_<start, 6 digits>_<end, 6 digits>`."""
    label_of = {}
    for path in csvs:
        for number, line in enumerate(_lines(path)[1:], 2):
            cells = [cell.strip().strip('"') for cell in line.split(",")]
            if len(cells) < 4 or not (cells[2].isdigit() and cells[3].isdigit()):
                raise UserError(f"{path}: line {number}: expected label,youtube_id,time_start,time_end,split; found {line[:60]!r}.")
            label_of[f"{cells[1]}_{int(cells[2]):06d}_{int(cells[3]):06d}"] = cells[0]
    return set(label_of.values()), label_of


def read_ssv2(root: Path, part: str) -> Listing:
    """`20bn-something-something-v2/<id>.webm` and `labels/{labels,train,validation}.json` (or the older something-something-v2-*.json)."""
    folder = _folder(root, "20bn-something-something-v2", holds="Something-Something V2: 20bn-something-something-v2/<id>.webm")
    label_path, list_path = _ssv2_list(root, "labels"), _ssv2_list(root, part)
    labels = load_json(label_path)
    numbers = labels.values() if isinstance(labels, dict) else ()
    if not labels or not all(str(n).isdigit() for n in numbers) or sorted(map(int, numbers)) != list(range(len(labels))):
        raise UserError(f"{label_path}: expected class names with numbers from 0 without gaps, as published.")
    entries = load_json(list_path)
    rows = []
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict) or not {"id", "template"} <= entry.keys():
            raise UserError(f"{list_path}: entry {place}: expected the fields id and template, found {str(entry)[:60]}.")
        name = str(entry["template"]).replace("[", "").replace("]", "")
        if name not in labels:
            raise UserError(f"{list_path}: entry {place}: the class {name!r} is not in {label_path.name}.")
        path = folder / f"{entry['id']}.webm"
        rows.append(_source(path, int(labels[name]), splits=(part,), part=part, group=str(entry["id"])))
    classes = tuple(sorted(labels, key=lambda name: int(labels[name])))
    return Listing(classes=classes, sources=_with_keys(rows, where=list_path))


def _ssv2_list(root: Path, name: str) -> Path:
    return _first_file([root / "labels" / f"{name}.json", root / f"{name}.json", root / f"something-something-v2-{name}.json"])


def read_ucf101(root: Path, part: str) -> Listing:
    """`UCF-101/<Class>/v_<Class>_gXX_cYY.avi`; `ucfTrainTestlist/classInd.txt` counts from 1; fold lists name class folder and file.

    One class is spelt HandstandPushups as a folder and HandStandPushups in its files, and copies differ: case does not count here.
    """
    folder = _folder(root, "UCF-101", holds="UCF101: UCF-101/<Class>/v_<Class>_gXX_cYY.avi")
    lists = _folder(root, "ucfTrainTestlist", holds="UCF101's fold lists: classInd.txt, trainlist01.txt, testlist01.txt, ...")
    classes = tuple(line.split()[-1] for line in _lines(_first_file([lists / "classInd.txt"])))
    place = {name.casefold(): i for i, name in enumerate(classes)}
    on_disk = {f"{path.parent.name}/{path.name}".casefold(): path for name in _subfolders(folder) for path in _videos(name)}
    splits: defaultdict[Path, list[str]] = defaultdict(list)
    label_of: dict[Path, int] = {}
    for split, list_path in [(f"{kind}{f:02d}", lists / f"{kind}list{f:02d}.txt") for f in FOLDS for kind in ("train", "test")]:
        for number, line in enumerate(_lines(_first_file([list_path])), 1):
            name = line.split()[0]
            class_name = name.split("/")[0].casefold()
            if class_name not in place or "/" not in name:
                raise UserError(f"{list_path}: line {number}: expected <Class>/<file> of a class in classInd.txt, found {line[:60]!r}.")
            path = on_disk.get(name.casefold(), folder / name)
            splits[path].append(split)
            label_of[path] = place[class_name]
    rows = []
    for path, label in label_of.items():
        group = re.sub(r"_c\d+$", "", path.stem)
        rows.append(_source(path, label, splits=tuple(splits[path]), part=part, group=group))
    return Listing(classes=classes, sources=_with_keys(rows, where=folder))


def read_hmdb51(root: Path, part: str) -> Listing:
    """`hmdb51_org/<class>/<file>.avi`; `testTrainMulti_7030_splits/<class>_test_split{1,2,3}.txt` with tags 1 train, 2 test, 0 unused."""
    folder = _folder(root, "hmdb51_org", holds="HMDB51, unpacked: hmdb51_org/<class>/<file>.avi")
    lists = _folder(root, "testTrainMulti_7030_splits", holds="HMDB51's splits: <class>_test_split1.txt, ...")
    classes = tuple(path.name for path in _subfolders(folder))
    rows = []
    for label, name in enumerate(classes):
        splits: dict[str, list[str]] = {}
        for fold in FOLDS:
            list_path = _first_file([lists / f"{name}_test_split{fold}.txt"])
            for number, line in enumerate(_lines(list_path), 1):
                file, _, tag = line.strip().rpartition(" ")
                if tag not in ("0", "1", "2") or not file:
                    raise UserError(f"{list_path}: line {number}: expected <file> and a tag 0, 1 or 2; found {line[:60]!r}.")
                splits.setdefault(file.strip(), [])
                if tag != "0":
                    splits[file.strip()].append(f"{'train' if tag == '1' else 'test'}{fold:02d}")
        # Files are named <film>_<class>_<marks>_<number>.avi: what stands before the class is the film.
        rows += [
            _source(folder / name / file, label, splits=tuple(found), part=part, group=file.split(f"_{name}_")[0])
            for file, found in splits.items()
        ]
    return Listing(classes=classes, sources=_with_keys(rows, where=folder))


def safe_key(name: str) -> str:
    """`name` in [a-z0-9_-]: marks fall off letters, any other run of characters becomes one dash. A hash follows where much was lost."""
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    key = re.sub(r"[^a-z0-9_-]+", "-", plain.lower())
    lost = re.search(r"[^\x00-\x7f]", plain) or not re.search(r"[a-z0-9]", key)
    return f"{key[: _MAX_KEY - 9]}-{_hash(name)}" if lost or len(key) > _MAX_KEY else key


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _source(path: Path, label: int, *, splits: tuple[str, ...], part: str, group: str) -> Source:
    return Source(key=safe_key(path.stem), path=path, label=label, splits=splits, group=safe_key(group), part=part)


def _with_keys(sources: list[Source], *, where: Path) -> tuple[Source, ...]:
    """Keys made unique: those that several videos share get a hash of class folder and file name."""
    if not any(source.path.exists() for source in sources):
        shown = f" The first is {sources[0].path}." if sources else ""
        raise UserError(f"{where}: names {len(sources)} videos, none of which is there.{shown}")
    count = Counter(source.key for source in sources)
    unique = tuple(replace(source, key=_longer_key(source)) if count[source.key] > 1 else source for source in sources)
    if len({source.key for source in unique}) < len(unique):
        twice = next(key for key, number in Counter(source.key for source in unique).items() if number > 1)
        raise UserError(f"{where}: the video {twice} is listed more than once.")
    return unique


def _longer_key(source: Source) -> str:
    return f"{source.key[: _MAX_KEY - 9]}-{_hash(f'{source.path.parent.name}/{source.path.name}')}"


def _folder(root: Path, name: str, *, holds: str) -> Path:
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder. Set root under [datasets] in kdbatch.toml to the folder of the data set.")
    if not (root / name).is_dir():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:6]) or "nothing"
        raise UserError(f"{root}: has no folder {name}; found {found}. Looked for {holds}.")
    return root / name


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)


def _first_file(candidates: list[Path]) -> Path:
    for path in candidates:
        if path.is_file():
            return path
    raise UserError(f"{candidates[0]}: there is no such list file. Download the data set's lists and put them there.")


def _lines(path: Path) -> list[str]:
    """The lines of a list file that are not blank; published ones end in LF or CR LF."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}).") from error


READERS: Mapping[str, Callable[[Path, str], Listing]] = {
    "k400": read_k400,
    "ssv2": read_ssv2,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
}
