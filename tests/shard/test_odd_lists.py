"""Lists that are no lists: each is told in one line that says what to do."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS

HEADER = "label,youtube_id,time_start,time_end,split\n"
ROW = "class 0,abcdefghijk,1,11,train\n"


def _kinetics(root: Path, *, in_class: bool = False) -> Path:
    folder = root / "train" / ("class 0" if in_class else "")
    folder.mkdir(parents=True)
    (folder / "abcdefghijk_000001_000011.mp4").touch()
    return root


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ((HEADER + ROW).encode("utf-16"), r"train.csv: has NUL bytes, as UTF-16 text has"),
        ((HEADER + "\0" + ROW).encode(), r"train.csv: has NUL bytes"),
        ((HEADER + f'"{"x" * 200_000}",b,1,11\n').encode(), r"line 2: is no line of a CSV list"),
        (HEADER.encode(), r"train: left out 1 video that no list names"),
    ],
)
def test_a_csv_that_is_no_list_is_an_error_of_one_line(
    tmp_path: Path, text: bytes, message: str
) -> None:
    root = _kinetics(tmp_path)
    (root / "train.csv").write_bytes(text)
    with pytest.raises(UserError, match=message) as error:
        READERS["k400"](root, "train")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gone")])
def test_something_else_with_the_name_of_a_list_is_not_passed_over(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    root = _kinetics(tmp_path, in_class=True)
    (root / "annotations").mkdir()
    make(root / "annotations" / "train.csv")
    with pytest.raises(UserError, match=r"train\.csv: is not a file that can be read\. Look: ls"):
        READERS["k400"](root, "train")


@pytest.mark.parametrize("video_id", ["", True, "x" * 256])
def test_an_ssv2_id_that_is_none_is_refused(toys: Path, tmp_path: Path, video_id: object) -> None:
    root = tmp_path / "ssv2"
    shutil.copytree(toys / "ssv2", root)
    path = root / "labels" / "train.json"
    entries = json.loads(path.read_text())
    entries[0]["id"] = video_id
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"train.json: entry 0: "):
        READERS["ssv2"](root, "train")


def test_a_class_with_two_labels_is_refused(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "ssv2"
    shutil.copytree(toys / "ssv2", root)
    path = root / "labels" / "labels.json"
    first, second, *_ = json.loads(path.read_text())
    path.write_text(path.read_text().rstrip()[:-1] + f', "{first}": "1", "{second}": "0"}}')
    with pytest.raises(UserError, match=r"labels.json: is not JSON \(it has .* twice\)"):
        READERS["ssv2"](root, "train")


def test_tabs_between_names_and_numbers_of_ucf101_are_blanks(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "ucf101"
    shutil.copytree(toys / "ucf101", root)
    for path in (root / "ucfTrainTestlist").iterdir():
        path.write_text(path.read_text().replace(" ", "\t"))
    with_blanks, with_tabs = (
        READERS["ucf101"](folder, "all") for folder in (toys / "ucf101", root)
    )
    assert [(v.key, v.label) for v in with_tabs.videos] == [
        (v.key, v.label) for v in with_blanks.videos
    ]
