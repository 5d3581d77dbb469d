"""Data sets that kdbatch.toml declares: class folders and tables, their splits and their slips."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.shard.datasets.own import read_own
from kdbatch.shard.datasets.split_shares import draw_splits
from kdbatch.shard.sources import Listing
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.datasets import Dataset
from kdbatch.vocab.sources.dataset_source import DatasetSource

SHARES = {"train": 0.75, "test": 0.25}
Read = Callable[..., tuple[Dataset, Listing]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads the data set `gestures` in the folder `videos`, as an entry of kdbatch.toml says."""

    def read(**entry: Any) -> tuple[Dataset, Listing]:
        return read_own("gestures", source_of(tmp_path, **entry), tmp_path / "videos")

    return read


def source_of(folder: Path, **entry: Any) -> DatasetSource:
    raw = {"root": str(folder / "videos"), **entry}
    return parse(Config, {"datasets": {"gestures": raw}}, where="kdbatch.toml").datasets["gestures"]


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., None]:
    """Makes empty files below `videos`: a listing opens none of them."""

    def make(*names: str) -> None:
        for name in names:
            path = tmp_path / "videos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def table(tmp_path: Path, files: Callable[..., None]) -> Callable[..., str]:
    """Writes a table, and the files that its column `path` names."""

    def write(columns: Sequence[str], *rows: Sequence[str], name: str = "list.csv") -> str:
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="\t" if name.endswith("tsv") else ",")
            writer.writerows([columns, *rows])
        files(*(row[0] for row in rows if row and not row[0].startswith(("/", ".."))))
        return str(path)

    return write


def splits_of(listing: Listing) -> Counter[str]:
    return Counter(split for video in listing.videos for split in video.splits)


def test_class_folders_below_folders_of_splits(read: Read, files: Callable[..., None]) -> None:
    files("train/wave/a.mp4", "train/clap/b.avi", "test/wave/c.mp4", "val/clap/d.mp4", "notes.txt")
    dataset, listing = read(layout="folders", title="Hand gestures", fps=30)
    assert (dataset.title, dataset.num_classes, dataset.fps) == ("Hand gestures", 2, 30)
    assert dataset.num_videos == {"train": 2, "val": 1, "test": 1}
    assert dataset.train_split == dataset.pretrain_split == "train" and dataset.test_split == "test"
    labels = {video.path.stem: listing.classes[video.label] for video in listing.videos}
    assert labels == {"a": "wave", "b": "clap", "c": "wave", "d": "clap"}


def test_without_a_folder_test_networks_are_tested_on_val(
    read: Read, files: Callable[..., None]
) -> None:
    files("train/wave/a.mp4", "val/wave/b.mp4")
    assert read(layout="folders")[0].test_split == "val"


def test_videos_of_equal_names_in_nested_folders_have_keys_of_their_own(
    read: Read, files: Callable[..., None]
) -> None:
    files(*(f"train/{c}/{person}/s/1.mp4" for c in ("wave", "clap") for person in ("ann", "bob")))
    _, listing = read(layout="folders")
    assert len({video.key for video in listing.videos}) == 4
    assert len({video.group for video in listing.videos}) == 4


@pytest.mark.parametrize("seed", range(5))
def test_drawn_splits_part_no_group_and_divide_each_class(
    read: Read, files: Callable[..., None], seed: int
) -> None:
    files(*(f"{c}/film{n // 4:02d}_{n}.mp4" for c in ("wave", "clap") for n in range(80)))
    entry = {"layout": "folders", "shares": SHARES, "group": "(?P<group>film[0-9]+)_"}
    _, listing = read(**entry, seed=seed)
    splits: dict[str, set[str]] = {}
    for video in listing.videos:
        splits.setdefault(video.group, set()).update(video.splits)
    assert len(splits) == 20 and all(len(found) == 1 for found in splits.values())
    counts = Counter((video.label, video.part) for video in listing.videos)
    assert counts == {(0, "train"): 60, (1, "train"): 60, (0, "test"): 20, (1, "test"): 20}
    assert read(**entry, seed=seed)[1] == listing
    assert read(**entry, seed=seed + 1)[1] != listing


def test_the_draw_does_not_depend_on_the_order_of_the_videos() -> None:
    videos = [(f"group{n % 30}", n % 7) for n in range(200)]
    there = dict(zip((group for group, _ in videos), draw_splits(videos, shares=SHARES, seed=3)))
    back = videos[::-1]
    again = dict(zip((group for group, _ in back), draw_splits(back, shares=SHARES, seed=3)))
    assert there == again and set(there.values()) == set(SHARES)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_a_table_names_path_label_split_and_group(
    read: Read, table: Callable[..., str], name: str
) -> None:
    file = table(
        ("file", "action", "set", "film"),
        ("a/1.mp4", "wave, high", "train", "f1"),
        ("b/1.mp4", "wave, high", "test", "f2"),
        ("b/2.mp4", "clap", "train", "f1"),
        name=name,
    )
    columns = {"path": "file", "label": "action", "split": "set", "group": "film"}
    dataset, listing = read(layout="table", table=file, columns=columns)
    assert listing.classes == ("clap", "wave, high") and dataset.num_videos == {
        "train": 2,
        "test": 1,
    }
    assert [video.group for video in listing.videos] == ["f1", "f1", "f2"]
    assert dataset.videos_per_group == 1.5


def test_a_parquet_table_with_numbers_as_labels(
    read: Read, files: Callable[..., None], tmp_path: Path
) -> None:
    paths, labels = [f"{n}.mp4" for n in range(12)], [n % 11 for n in range(12)]
    files(*paths)
    frame = pl.DataFrame({"path": paths, "label": labels, "split": ["train"] * 11 + ["test"]})
    frame.write_parquet(tmp_path / "list.parquet")
    _, listing = read(layout="table", table=str(tmp_path / "list.parquet"))
    assert listing.classes == tuple(map(str, range(11)))
    assert {video.path.stem: video.label for video in listing.videos}["10"] == 10


def test_videos_without_labels_have_no_classes(
    read: Read, table: Callable[..., str], files: Callable[..., None]
) -> None:
    file = table(("path", "split"), ("a.mp4", "train"), ("b.mp4", "train"))
    dataset, listing = read(layout="table", table=file)
    assert dataset.num_classes == 0 and listing.classes == () and dataset.pretrain_split == "train"
    files("train/c.mp4", "train/d.mp4")
    assert read(layout="folders")[0].num_videos == {"train": 2}


def test_notes_name_what_is_left_out_and_what_is_odd(
    read: Read, files: Callable[..., None]
) -> None:
    files("train/wave/f1_a.mp4", "train/clap/f2_b.mp4", "test/wave/f1_c.mp4", "train/loose.mp4")
    files("others/x.mp4", "test/wave/.d.mp4", "test/wave/e.mp4")
    _, listing = read(layout="folders", group="(f[0-9])_")
    notes = "\n".join(listing.notes)
    for words in (
        "left out 1 video outside of class folders; the first is loose.mp4",
        "left out 1 folder not named train, val, validation, test; the first is others",
        "1 class has videos in one split alone; the first is clap, in train",
        "1 group with videos in several splits",
        "the pattern of groups is not in the paths of 1 video",
        "left out 1 hidden file",
    ):
        assert words in notes


def test_two_classes_with_nearly_the_same_name_are_told(
    read: Read, files: Callable[..., None]
) -> None:
    files(*(f"{split}/{name}/a.mp4" for split in ("train", "test") for name in ("wave", "Wave")))
    _, listing = read(layout="folders")
    assert "has both 'wave' and 'Wave', which count as two classes." in "\n".join(listing.notes)


FOLDER_SLIPS = {
    "no split folders": (
        {},
        ["wave/a.mp4"],
        "has none of the folders train, val.*found wave.*shares = {train = 0.8, test = 0.2}",
    ),
    "tested class that is not trained": (
        {},
        ["train/wave/a.mp4", "test/wawe/b.mp4"],
        "the class 'wawe' has 1 video in test and none in train.*Spell it alike",
    ),
    "pattern that matches nothing": (
        {"group": "(film[0-9]+)"},
        ["train/wave/a.mp4"],
        "'\\(film\\[0-9\\]\\+\\)' is in none of the paths.*train/wave/a.mp4",
    ),
    "share without a video": (
        {"shares": {"train": 0.99, "test": 0.01}},
        ["wave/a.mp4", "wave/b.mp4"],
        "no video falls to test",
    ),
    "no videos": ({}, ["train/wave/a.txt"], "has no videos where folders are looked for"),
}


@pytest.mark.parametrize("slip", FOLDER_SLIPS)
def test_a_slip_in_folders_is_one_line_with_a_way_out(
    read: Read, files: Callable[..., None], slip: str
) -> None:
    entry, names, message = FOLDER_SLIPS[slip]
    files(*names)
    with pytest.raises(UserError, match=message) as raised:
        read(layout="folders", **entry)
    assert "\n" not in str(raised.value)


ENTRY_SLIPS = {
    "misspelt field": (
        {"layout": "folders", "grup": "(x)"},
        "no field 'grup'.*'group'",
    ),
    "unknown layout": ({"layout": "folder"}, "found 'folder'. Did you mean 'folders'"),
    "no layout": ({}, 'no published data set \'gestures\'.*needs layout = "folders" or "table"'),
    "field of another layout": (
        {"layout": "folders", "table": "x.csv"},
        'table: belongs to layout = "table", and this is "folders"',
    ),
    "table without a table": ({"layout": "table"}, 'table: is missing. Write table = "FILE.csv"'),
    "bad pattern": ({"layout": "folders", "group": "(x"}, "'\\(x' is no regular expression"),
    "endless pattern": ({"layout": "folders", "group": "(x){9999999999999}"}, "is no regular expr"),
    "pattern without a group": ({"layout": "folders", "group": "x"}, "'x' has no group"),
    "shares that are not whole": (
        {"layout": "folders", "shares": {"train": 0.8}},
        "whose sum is 0.8",
    ),
    "name of a split": (
        {"layout": "folders", "shares": {"train-1": 1.0}},
        "'train-1' is no name of a split",
    ),
}


@pytest.mark.parametrize("slip", ENTRY_SLIPS)
def test_a_slip_in_the_entry_is_one_line_with_a_way_out(tmp_path: Path, slip: str) -> None:
    entry, message = ENTRY_SLIPS[slip]
    with pytest.raises(UserError, match=message) as raised:
        source_of(tmp_path, **entry)
    assert "\n" not in str(raised.value) and str(raised.value).startswith("kdbatch.toml")


def test_a_published_name_has_no_layout_of_its_own() -> None:
    raw = {"datasets": {"k400": {"root": "x", "layout": "folders"}}}
    with pytest.raises(UserError, match="k400 is the name of a published data set"):
        parse(Config, raw, where="kdbatch.toml")


HEAD = ("path", "label", "split")
TABLE_SLIPS = {
    "missing column": (
        [("file", "label", "split"), ("a.mp4", "x", "train")],
        "no column 'path'",
    ),
    "named column that is missing": ([HEAD, ("a.mp4", "x", "train")], "no column 'film'"),
    "absolute path": (
        [HEAD, ("/etc/a.mp4", "x", "train")],
        "line 2: '/etc/a.mp4' is no path",
    ),
    "path out of the folder": ([HEAD, ("../a.mp4", "x", "train")], "line 2: '../a.mp4' is no path"),
    "path twice": (
        [HEAD, ("a.mp4", "x", "train"), ("a.mp4", "x", "test")],
        "line 3: names a.mp4 again; the first is line 2",
    ),
    "empty label": ([HEAD, ("a.mp4", "", "train")], "line 2: label is empty"),
    "short line": ([HEAD, ("a.mp4", "x")], "line 2: has 2 cells, and the first line has 3"),
    "odd split": ([HEAD, ("a.mp4", "x", "Train 1")], "line 2: 'Train 1' is no name of a split"),
    "no split": ([("path", "label"), ("a.mp4", "x")], "has no column 'split'.*shares = "),
    "semicolons": (
        [("path;label;split",), ("a.mp4;x;train",)],
        "its cells are separated by a semicolon. Write a comma",
    ),
    "tabs": ([("path\tlabel\tsplit",), ("a.mp4\tx\ttrain",)], "are separated by a tab"),
    "no line": ([HEAD], "has no line below the names"),
}


@pytest.mark.parametrize("slip", TABLE_SLIPS)
def test_a_slip_in_a_table_is_one_line_with_its_place(
    read: Read, table: Callable[..., str], tmp_path: Path, slip: str
) -> None:
    rows, message = TABLE_SLIPS[slip]
    (tmp_path / "videos").mkdir()
    columns = {"columns": {"group": "film"}} if slip.startswith("named") else {}
    with pytest.raises(UserError, match=message) as raised:
        read(layout="table", table=table(*rows), **columns)
    assert "\n" not in str(raised.value) and "list.csv" in str(raised.value)


def test_a_table_that_has_splits_is_not_drawn_again(read: Read, table: Callable[..., str]) -> None:
    file = table(HEAD, ("a.mp4", "x", "train"))
    with pytest.raises(UserError, match="column of splits, and kdbatch.toml has shares"):
        read(layout="table", table=file, shares=SHARES)


def test_a_file_that_is_no_table_is_told(
    read: Read, tmp_path: Path, files: Callable[..., None]
) -> None:
    files("a.mp4")
    (tmp_path / "list.xlsx").write_bytes(b"PK")
    with pytest.raises(UserError, match="list.xlsx: is no table that is read. Write it as .csv"):
        read(layout="table", table=str(tmp_path / "list.xlsx"))
    (tmp_path / "list.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="list.parquet: is no Parquet file"):
        read(layout="table", table=str(tmp_path / "list.parquet"))


def test_the_table_is_relative_to_the_file_that_names_it(tmp_path: Path) -> None:
    text = '[datasets.gestures]\nlayout = "table"\nroot = "videos"\ntable = "list.csv"\n'
    (tmp_path / "kdbatch.toml").write_text(text)
    source = load_config(tmp_path / "kdbatch.toml").datasets["gestures"]
    assert source.table == str(tmp_path / "list.csv") and source.root == str(tmp_path / "videos")


def test_the_guides_script_makes_a_table_of_diving48s_lists(
    read: Read, tmp_path: Path, files: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "GUIDE.md").read_text(encoding="utf-8")
    script = re.search(r"```python\n(# diving48\.py.*?)```", guide, re.DOTALL)
    assert script
    vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Forward", "25som", "NoTwis", "PIKE"]]
    videos = [("aaaaaaaaaaa_00001", 0), ("aaaaaaaaaaa_00002", 1), ("bbbbbbbbbbb_00001", 1)]
    entries = [
        {"vid_name": name, "label": label, "start_frame": 0, "end_frame": 90}
        for name, label in videos
    ]
    (tmp_path / "Diving48_vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "Diving48_V2_train.json").write_text(json.dumps(entries[:2]))
    (tmp_path / "Diving48_V2_test.json").write_text(json.dumps(entries[2:]))
    files(*(f"{name}.mp4" for name, _ in videos))
    monkeypatch.chdir(tmp_path)
    exec(compile(script[1], "diving48.py", "exec"), {})  # the text of our own page
    dataset, listing = read(layout="table", table=str(tmp_path / "diving48.csv"))
    assert listing.classes == ("Back 15som 05Twis FREE", "Forward 25som NoTwis PIKE")
    assert dataset.num_videos == {"train": 2, "test": 1}
    assert len({video.group for video in listing.videos}) == 2
