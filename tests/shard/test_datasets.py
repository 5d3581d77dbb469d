import json
import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS
from kdbatch.shard.sources import Listing
from kdbatch.vocab.datasets import DATASETS

KEY = re.compile(r"[a-z0-9_-]{1,80}")
PARTS = [(name, part) for name in READERS for part in DATASETS[name].parts]


def _splits(listing: Listing) -> Counter[str]:
    return Counter(split for source in listing.videos for split in source.splits)


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_layout_gives_existing_videos_with_unique_safe_keys(
    toys: Path, name: str, part: str
) -> None:
    listing = READERS[name](toys / name, part)
    assert all(source.path.is_file() and source.part == part for source in listing.videos)
    assert all(KEY.fullmatch(source.key) for source in listing.videos)
    assert len({source.key for source in listing.videos}) == len(listing.videos)
    assert {source.label for source in listing.videos} == set(range(len(listing.classes)))
    assert set(_splits(listing)) == {
        split for split, of_part in DATASETS[name].part_of.items() if of_part == part
    }


def test_readers_and_vocabulary_name_the_same_data_sets() -> None:
    assert set(READERS) == set(DATASETS)


def test_ucf101_labels_count_from_0_and_no_group_is_on_both_sides_of_a_fold(toys: Path) -> None:
    listing = READERS["ucf101"](toys / "ucf101", "all")
    assert listing.classes == ("BouncingBall", "BouncingBox")
    assert all(
        listing.classes[source.label] == source.path.parent.name for source in listing.videos
    )
    for fold in ("01", "02", "03"):
        train = {source.group for source in listing.videos if f"train{fold}" in source.splits}
        test = {source.group for source in listing.videos if f"test{fold}" in source.splits}
        assert train and test and not train & test


def _ucf101(root: Path, *, videos: tuple[str, ...], classes: str, train: str, test: str) -> Path:
    """The layout with these videos (1 byte each) and the same lists in all three folds."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    for name in videos:
        (root / "UCF-101" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "UCF-101" / name).write_bytes(b"x")
    (lists / "classInd.txt").write_text(classes)
    for fold in (1, 2, 3):
        (lists / f"trainlist0{fold}.txt").write_text(train)
        (lists / f"testlist0{fold}.txt").write_text(test)
    return root


@pytest.mark.parametrize(
    "on_disk", ["HandstandPushups/v_HandStandPushups", "HandStandPushups/v_HandstandPushups"]
)
@pytest.mark.parametrize(
    "listed", ["HandstandPushups/v_HandStandPushups", "HandStandPushups/v_HandstandPushups"]
)
@pytest.mark.parametrize("name", ["HandstandPushups", "HandStandPushups"])
def test_ucf101_matches_all_spellings_of_handstand_pushups(
    tmp_path: Path, on_disk: str, listed: str, name: str
) -> None:
    videos = (f"{on_disk}_g01_c01.avi", f"{on_disk}_g02_c01.avi")
    train, test = f"{listed}_g01_c01.avi 1\r\n", f"{listed}_g02_c01.avi\r\n"
    _ucf101(tmp_path, videos=videos, classes=f"1 {name}\r\n", train=train, test=test)
    listing = READERS["ucf101"](tmp_path, "all")
    assert [(s.path.is_file(), s.label, s.group, s.splits[0]) for s in listing.videos] == [
        (True, 0, "v_handstandpushups_g01", "train01"),
        (True, 0, "v_handstandpushups_g02", "test01"),
    ]
    assert listing.classes == (name,)
    assert listing.notes == ()


def test_ucf101_classes_follow_their_numbers_not_their_lines(tmp_path: Path) -> None:
    videos = (
        "Archery/v_Archery_g01_c01.avi",
        "Bowling/v_Bowling_g01_c01.avi",
        "Bowling/v_Bowling_g09_c01.avi",
    )
    _ucf101(
        tmp_path,
        videos=videos,
        classes="2 Bowling\n1 Archery\n",
        train=f"{videos[0]} 1\n",
        test=f"{videos[1]}\n",
    )
    listing = READERS["ucf101"](tmp_path, "all")
    assert listing.classes == ("Archery", "Bowling")
    assert [source.label for source in listing.videos] == [0, 1]
    assert listing.notes == (
        f"{tmp_path}/UCF-101: left out 1 video that no list names, v_Bowling_g09_c01.avi first.",
    )


@pytest.mark.parametrize(
    ("classes", "train", "message"),
    [
        (
            "1 Archery\n",
            "Archery/v_Archery_g01_c01.avi 2\n",
            "trainlist01.txt: line 1: .*disagrees with classInd.txt, where it is 1",
        ),
        (
            "1 Archery\n",
            "Archery/v_Archery_g01_c01.avi 1\n" * 2,
            "trainlist01.txt: line 2: the video .* is listed more than once",
        ),
        (
            "0 Archery\n",
            "Archery/v_Archery_g01_c01.avi 1\n",
            "classInd.txt: expected the numbers from 1 to 1",
        ),
        (
            "1 Archery\n",
            "Archer/v_Archery_g01_c01.avi 1\n",
            "line 1: expected <Class>/<file> of a class in classInd.txt",
        ),
    ],
)
def test_errors_in_ucf101_lists_name_the_line(
    tmp_path: Path, classes: str, train: str, message: str
) -> None:
    video = "Archery/v_Archery_g01_c01.avi"
    with pytest.raises(UserError, match=message):
        READERS["ucf101"](
            _ucf101(tmp_path, videos=(video,), classes=classes, train=train, test=f"{video}\n"),
            "all",
        )


def _hmdb51(root: Path, name: str, files: dict[str, str]) -> Path:
    """One class; `files` maps names to their tags in the three folds."""
    folder, lists = root / "hmdb51_org" / name, root / "testTrainMulti_7030_splits"
    folder.mkdir(parents=True)
    lists.mkdir(exist_ok=True)
    for file in files:
        (folder / file).write_bytes(b"x")
    for fold in (1, 2, 3):
        lines = "".join(f"{file} {tags[fold - 1]} \r\n" for file, tags in files.items())
        (lists / f"{name}_test_split{fold}.txt").write_bytes(os.fsencode(lines))
    return root


ODD_NAMES = (
    "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi",
    "(HQ)_Rock_&_Roll_-_Dan's_clap_f_cm_np1_ba_med_0.avi",
    "Tom;Jerry!_@home_clap_f_cm_np1_ba_med_1.avi",
    "wait..._clap_u_nm_np1_fr_goo_2..avi",
    "Trümmerfrau_clap_f_cm_np1_fr_med_3.avi",
    os.fsdecode(b"Tr\xfcmmerfrau_clap_f_cm_np1_fr_med_3.avi"),
    "two  blanks 1_clap_f_cm_np1_fr_med_4.avi",
)


def test_hmdb51_finds_its_odd_file_names_and_gives_each_a_safe_key(tmp_path: Path) -> None:
    listing = READERS["hmdb51"](_hmdb51(tmp_path, "clap", dict.fromkeys(ODD_NAMES, "120")), "all")
    assert {source.path.name for source in listing.videos} == set(ODD_NAMES)
    assert all(
        source.path.is_file() and source.splits == ("train01", "test02")
        for source in listing.videos
    )
    assert len({source.key for source in listing.videos}) == len(ODD_NAMES)
    assert all(KEY.fullmatch(source.key) for source in listing.videos)
    assert listing.notes == ()


def test_hmdb51_names_unpacked_with_decomposed_marks_are_found(tmp_path: Path) -> None:
    name = "Trümmerfrau_clap_f_cm_np1_fr_med_3.avi"
    root = _hmdb51(tmp_path, "clap", {name: "111"})
    folder = root / "hmdb51_org" / "clap"
    (folder / name).rename(folder / unicodedata.normalize("NFD", name))
    assert READERS["hmdb51"](root, "all").videos[0].path.is_file()


def test_hidden_files_beside_hmdb51_lists_and_videos_are_no_classes_and_no_videos(
    tmp_path: Path,
) -> None:
    root = _hmdb51(tmp_path, "clap", {"film_clap_f_cm_np1_fr_med_0.avi": "111"})
    lists, folder = root / "testTrainMulti_7030_splits", root / "hmdb51_org" / "clap"
    for fold in (1, 2, 3):
        (lists / f"._clap_test_split{fold}.txt").write_bytes(b"\0\5\x16\7")
    (folder / "._film_clap_f_cm_np1_fr_med_0.avi").write_bytes(b"\0")
    listing = READERS["hmdb51"](root, "all")
    assert listing.classes == ("clap",) and len(listing.videos) == 1
    assert "left out 1 hidden file with the name of a video" in listing.notes[0]


def test_hmdb51_classes_come_from_the_lists_of_all_folds_and_folders_without_any_are_told(
    tmp_path: Path,
) -> None:
    for name in ("clap", "wave", "jump"):
        _hmdb51(tmp_path, name, {f"film_{name}_f_cm_np1_fr_med_0.avi": "121"})
    lists = tmp_path / "testTrainMulti_7030_splits"
    for fold in (1, 2, 3):
        (lists / f"jump_test_split{fold}.txt").unlink()
    listing = READERS["hmdb51"](tmp_path, "all")
    assert listing.classes == ("clap", "wave")
    assert listing.notes[0].endswith(
        "hmdb51_org: left out 1 video in 1 folder without list files, jump first."
    )
    (lists / "wave_test_split1.txt").unlink()
    with pytest.raises(UserError, match=r"wave_test_split1\.txt: there is no such list file"):
        READERS["hmdb51"](tmp_path, "all")


def test_ucf101_takes_the_spelling_of_the_list_where_both_are_there_and_tells_what_is_left_out(
    tmp_path: Path,
) -> None:
    listed = "HandstandPushups/v_HandStandPushups_g01_c01.avi"
    videos = (listed, listed.replace("HandstandPushups/", "HandStandPushups/"))
    _ucf101(
        tmp_path,
        videos=(*videos, f"HandstandPushups/._{listed.split('/')[1]}", "v_Loose_g01_c01.avi"),
        classes="1 HandstandPushups\n",
        train=f"{listed} 1\n",
        test="HandstandPushups/v_HandStandPushups_g02_c01.avi\n",
    )
    listing = READERS["ucf101"](tmp_path, "all")
    assert listing.videos[0].path == tmp_path / "UCF-101" / listed
    assert [note.split(": ")[1] for note in listing.notes] == [
        "left out 2 videos that no list names, v_HandStandPushups_g01_c01.avi first.",
        f"left out 1 hidden file with the name of a video, ._{listed.split('/')[1]} first.",
    ]


@pytest.mark.parametrize("name", ["labels", "train"])
def test_ssv2_lists_may_begin_with_a_byte_order_mark_and_are_not_ours_to_make_again(
    toys: Path, tmp_path: Path, name: str
) -> None:
    root = shutil.copytree(toys / "ssv2", tmp_path / "ssv2")
    path = root / "labels" / f"{name}.json"
    whole, listing = path.read_bytes(), READERS["ssv2"](root, "train")
    path.write_bytes(b"\xef\xbb\xbf" + whole)
    assert READERS["ssv2"](root, "train") == listing
    for damaged in (whole[:-9], b"[" * 100_000, b"null", b'{"a": 1' + b"0" * 5000 + b"}"):
        path.write_bytes(damaged)
        with pytest.raises(UserError) as caught:
            READERS["ssv2"](root, "train")
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert "repeat the command" not in message and len(message) < 500


def test_the_error_of_a_missing_hmdb51_class_folder_names_the_archive_to_unpack(
    tmp_path: Path,
) -> None:
    for name in ("clap", "wave"):
        _hmdb51(tmp_path, name, {f"film_{name}_f_cm_np1_fr_med_0.avi": "121"})
    assert READERS["hmdb51"](tmp_path, "all").classes == ("clap", "wave")
    shutil.rmtree(tmp_path / "hmdb51_org" / "clap")
    with pytest.raises(
        UserError, match=r"has no folder of the class 'clap'.*unpack clap.rar there"
    ):
        READERS["hmdb51"](tmp_path, "all")


def test_hmdb51_tags_become_splits_and_tag_0_becomes_none(toys: Path) -> None:
    assert _splits(READERS["hmdb51"](toys / "hmdb51", "all")) == {
        f"{kind}0{fold}": 2 for kind in ("train", "test") for fold in (1, 2, 3)
    }


def test_ssv2_classes_are_in_published_order(toys: Path) -> None:
    published = json.loads((toys / "ssv2/labels/labels.json").read_text())
    assert [published[name] for name in READERS["ssv2"](toys / "ssv2", "train").classes] == [
        "0",
        "1",
    ]


def test_a_duplicate_in_an_hmdb51_list_is_an_error_with_its_line(tmp_path: Path) -> None:
    name = "film_clap_f_cm_np1_fr_med_0.avi"
    root = _hmdb51(tmp_path, "clap", {name: "111"})
    path = root / "testTrainMulti_7030_splits" / "clap_test_split2.txt"
    path.write_text(path.read_text() * 2)
    with pytest.raises(
        UserError,
        match=f"clap_test_split2.txt: line 2: the video '{name}' is listed more than once",
    ):
        READERS["hmdb51"](root, "all")


def test_ssv2_removes_the_brackets_of_templates_and_refuses_duplicate_ids(
    toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys / "ssv2", tmp_path / "ssv2")
    listed = json.loads((tmp_path / "ssv2/labels/train.json").read_text())
    assert all("[something]" in entry["template"] for entry in listed)
    listing = READERS["ssv2"](tmp_path / "ssv2", "train")
    named = {entry["id"]: entry["template"].replace("[something]", "something") for entry in listed}
    assert {source.path.stem: listing.classes[source.label] for source in listing.videos} == named
    (tmp_path / "ssv2/labels/train.json").write_text(json.dumps([*listed, listed[0]]))
    with pytest.raises(
        UserError, match=f"train.json: the video {listed[0]['id']}.* is listed more than once"
    ):
        READERS["ssv2"](tmp_path / "ssv2", "train")


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x"])
def test_names_that_lead_out_of_the_data_sets_folder_are_refused(
    toys: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(toys / "ssv2", tmp_path / "ssv2")
    listed = json.loads((tmp_path / "ssv2/labels/train.json").read_text())
    (tmp_path / "ssv2/labels/train.json").write_text(
        json.dumps([*listed, {**listed[0], "id": name}])
    )
    with pytest.raises(
        UserError,
        match=f"train.json: entry {len(listed)}: '{name}.webm' "
        "names no file in the data set's folder",
    ):
        READERS["ssv2"](tmp_path / "ssv2", "train")
    root = _hmdb51(tmp_path / "hmdb51", "clap", {"film_clap_f_cm_np1_fr_med_0.avi": "111"})
    path = root / "testTrainMulti_7030_splits" / "clap_test_split2.txt"
    path.write_text(f"{path.read_text()}{name}.avi 1\n")
    with pytest.raises(
        UserError,
        match=f"clap_test_split2.txt: line 2: '{name}.avi' names no file in the data set's folder",
    ):
        READERS["hmdb51"](root, "all")


def test_ucf101_names_that_lead_out_of_a_class_folder_are_refused(tmp_path: Path) -> None:
    video = "Archery/v_Archery_g01_c01.avi"
    _ucf101(
        tmp_path,
        videos=(video,),
        classes="1 Archery\n",
        train=f"{video} 1\nArchery/../../../x.avi 1\n",
        test=f"{video}\n",
    )
    with pytest.raises(
        UserError, match="trainlist01.txt: line 2: 'Archery/../../../x.avi' names no file"
    ):
        READERS["ucf101"](tmp_path, "all")


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_an_id_that_no_file_can_have_is_refused(toys: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(toys / "ssv2", tmp_path / "ssv2")
    listed = json.loads((tmp_path / "ssv2/labels/train.json").read_text())
    (tmp_path / "ssv2/labels/train.json").write_text(json.dumps([{**listed[0], "id": name}]))
    names_no_file = re.escape(f"entry 0: {name + '.webm'!a} names no file")
    with pytest.raises(UserError, match=f"{names_no_file}|train.json: has .* half of a character"):
        READERS["ssv2"](tmp_path / "ssv2", "train")


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("k400", "train", "has no folder train; found"),
        ("ssv2", "20bn-something-something-v2", "has no folder 20bn-something-something-v2"),
        ("ssv2", "labels/train.json", "labels/train.json: there is no such list file"),
        ("ucf101", "UCF-101", "has no folder UCF-101"),
        ("ucf101", "ucfTrainTestlist/testlist02.txt", "testlist02.txt: there is no such list file"),
        ("hmdb51", "testTrainMulti_7030_splits", "has no folder testTrainMulti_7030_splits"),
    ],
)
def test_the_error_of_a_partial_layout_names_the_missing_file_and_the_root(
    toys: Path, tmp_path: Path, name: str, missing: str, message: str
) -> None:
    root = tmp_path / name
    shutil.copytree(toys / name, root)
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        READERS[name](root, DATASETS[name].parts[0])
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_root_and_a_root_without_videos_are_errors(
    toys: Path, tmp_path: Path, name: str
) -> None:
    part = DATASETS[name].parts[0]
    with pytest.raises(UserError, match="there is no such folder. Name the folder .* --root"):
        READERS[name](tmp_path / "nowhere", part)
    root = tmp_path / name
    shutil.copytree(toys / name, root)
    for path in root.rglob("*"):
        if path.suffix in (".mp4", ".webm", ".avi"):
            path.unlink()
    with pytest.raises(UserError, match="names .* videos?, none of which is there|[Nn]o video"):
        READERS[name](root, part)
