"""Videos that lists or folders put into training and test alike, or into a class twice."""

import json
import os
import shutil
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS


def _kinetics(root: Path, *, lists: tuple[str, ...] = (), flat: bool = False) -> Path:
    """Four videos a part in two classes; each is an empty text, as readers open no video."""
    for part, letter in (("train", "t"), ("val", "v")):
        lines = ["label,youtube_id,time_start,time_end,split"]
        for number in range(4):
            label, name = f"class {number % 2}", f"{letter * 10}{number}"
            folder = root / part / ("" if flat else label)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}_000001_000011.mp4").touch()
            lines.append(f"{label},{name},1,11,{part}")
        if part in lists:
            (root / f"{part}.csv").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("lists", [(), ("train",), ("val",), ("train", "val")])
def test_a_video_of_val_in_a_class_folder_of_train_is_not_trained_on(
    tmp_path: Path, lists: tuple[str, ...]
) -> None:
    root = _kinetics(tmp_path, lists=lists)
    shutil.copy(next((root / "val" / "class 0").iterdir()), root / "train" / "class 0")
    train, val = (READERS["k400"](root, part) for part in ("train", "val"))
    assert not {video.key for video in train.videos} & {video.key for video in val.videos}
    assert (len(train.videos), len(val.videos)) == (4, 4)
    assert "train: left out 1 video of the part val; the first is class 0/v" in train.notes[0]


@pytest.mark.parametrize("lists", [("train",), ("train", "val")])
def test_a_video_that_the_list_of_train_alone_names_is_no_test_video(
    tmp_path: Path, lists: tuple[str, ...]
) -> None:
    root = _kinetics(tmp_path, lists=lists)
    shutil.copy(next((root / "train" / "class 0").iterdir()), root / "val" / "class 0")
    val = READERS["k400"](root, "val")
    assert len(val.videos) == 4 and "val: left out 1 video of the part train" in val.notes[0]
    assert len(READERS["k400"](root, "train").videos) == 4


def test_a_video_that_both_lists_of_kinetics_name_is_not_trained_on(tmp_path: Path) -> None:
    root = _kinetics(tmp_path, lists=("train", "val"), flat=True)
    with (root / "train.csv").open("a") as file:
        file.write("\nclass 0,vvvvvvvvvv0,1,11,train\n")
    shutil.copy(root / "val" / "vvvvvvvvvv0_000001_000011.mp4", root / "train")
    train = READERS["k400"](root, "train")
    assert len(train.videos) == 4 and "left out 1 video of the part val" in train.notes[0]


def test_a_video_in_two_class_folders_is_told(tmp_path: Path) -> None:
    root = _kinetics(tmp_path)
    shutil.copy(next((root / "train" / "class 0").iterdir()), root / "train" / "class 1")
    (note,) = READERS["k400"](root, "train").notes
    assert "train: stored 1 video in two classes, because two class folders have them" in note


@pytest.mark.parametrize("target", ["class 0", ".", "..", "../val"])
def test_a_link_to_a_folder_that_is_listed_anyway_adds_no_class_and_no_video(
    tmp_path: Path, target: str
) -> None:
    root = _kinetics(tmp_path)
    expected = READERS["k400"](root, "train")
    (root / "train" / "link").symlink_to(target)
    listing = READERS["k400"](root, "train")
    assert (listing.classes, listing.videos) == (expected.classes, expected.videos)
    assert "link" in " ".join(listing.notes)


def test_two_links_to_one_folder_elsewhere_are_one_class(tmp_path: Path) -> None:
    root = _kinetics(tmp_path / "k400")
    (root / "train" / "class 0").rename(tmp_path / "elsewhere")
    for name in ("class 0", "class 0 again"):
        (root / "train" / name).symlink_to(tmp_path / "elsewhere")
    listing = READERS["k400"](root, "train")
    assert listing.classes == ("class 0", "class 1") and len(listing.videos) == 4


def test_a_ucf101_video_in_both_lists_of_a_fold_is_an_error(toys: Path, tmp_path: Path) -> None:
    root = tmp_path / "ucf101"
    shutil.copytree(toys / "ucf101", root, copy_function=os.link)
    lists = root / "ucfTrainTestlist"
    test = lists / "testlist02.txt"
    text = test.read_text() + (lists / "trainlist02.txt").read_text().split()[0] + "\n"
    test.unlink()
    test.write_text(text)
    number = len(text.splitlines())
    with pytest.raises(
        UserError, match=rf"testlist02.txt: line {number}: .* is in trainlist02.txt too"
    ):
        READERS["ucf101"](root, "all")


@pytest.mark.parametrize("part", ["train", "validation"])
def test_an_ssv2_video_in_both_lists_is_an_error(toys: Path, tmp_path: Path, part: str) -> None:
    root = tmp_path / "ssv2"
    shutil.copytree(toys / "ssv2", root)
    train, other = (root / "labels" / f"{name}.json" for name in ("train", "validation"))
    entries = json.loads(train.read_text()) + json.loads(other.read_text())[:1]
    train.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"names 1 videos that .* names too, .*Download"):
        READERS["ssv2"](root, part)
