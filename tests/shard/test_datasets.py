import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.shard.datasets import READERS
from kdbatch.shard.sources import Listing, safe_key
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError

KEY = re.compile(r"[a-z0-9_-]{1,80}")
PARTS = [(name, part) for name in READERS for part in DATASETS[name].parts]


def _splits(listing: Listing) -> Counter[str]:
    return Counter(split for source in listing.sources for split in source.splits)


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_layout_gives_existing_videos_with_unique_safe_keys(toys: Path, name: str, part: str) -> None:
    listing = READERS[name](toys / name, part)
    assert all(source.path.is_file() and source.part == part for source in listing.sources)
    assert all(KEY.fullmatch(source.key) for source in listing.sources)
    assert len({source.key for source in listing.sources}) == len(listing.sources)
    assert {source.label for source in listing.sources} == set(range(len(listing.classes)))
    assert set(_splits(listing)) == {split for split, of_part in DATASETS[name].part_of.items() if of_part == part}


def test_readers_and_vocabulary_name_the_same_data_sets() -> None:
    assert set(READERS) == set(DATASETS)


def test_ucf101_labels_count_from_0_and_no_group_is_on_both_sides_of_a_fold(toys: Path) -> None:
    listing = READERS["ucf101"](toys / "ucf101", "all")
    assert listing.classes == ("BouncingBall", "BouncingBox")
    assert all(listing.classes[source.label] == source.path.parent.name for source in listing.sources)
    for fold in ("01", "02", "03"):
        train = {source.group for source in listing.sources if f"train{fold}" in source.splits}
        test = {source.group for source in listing.sources if f"test{fold}" in source.splits}
        assert train and test and not train & test


def test_ucf101_spellings_of_handstand_pushups_all_meet(tmp_path: Path) -> None:
    videos, lists = tmp_path / "UCF-101" / "HandstandPushups", tmp_path / "ucfTrainTestlist"
    videos.mkdir(parents=True)
    lists.mkdir()
    (videos / "v_HandStandPushups_g01_c01.avi").write_bytes(b"x")
    (lists / "classInd.txt").write_text("1 HandstandPushups\r\n")
    for fold in (1, 2, 3):
        (lists / f"trainlist0{fold}.txt").write_text("HandStandPushups/v_HandstandPushups_g01_c01.avi 1\r\n")
        (lists / f"testlist0{fold}.txt").write_text("")
    (source,) = READERS["ucf101"](tmp_path, "all").sources
    assert (source.path.name, source.label, source.group) == ("v_HandStandPushups_g01_c01.avi", 0, "v_handstandpushups_g01")


def test_hmdb51_tags_become_splits_and_0_none(toys: Path) -> None:
    assert _splits(READERS["hmdb51"](toys / "hmdb51", "all")) == {f"{kind}0{fold}": 2 for kind in ("train", "test") for fold in (1, 2, 3)}


def test_ssv2_classes_are_in_published_order(toys: Path) -> None:
    published = json.loads((toys / "ssv2/labels/labels.json").read_text())
    assert [published[name] for name in READERS["ssv2"](toys / "ssv2", "train").classes] == ["0", "1"]


def test_k400_reads_the_flat_layout_with_csv_lists_alike(toys: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    for part in ("train", "val"):
        (tmp_path / part).mkdir()
        lines = ["label,youtube_id,time_start,time_end,split"]
        for path in sorted((toys / "k400" / part).rglob("*.mp4")):
            shutil.copy(path, tmp_path / part)
            start, end = map(int, path.stem[12:].split("_"))
            lines.append(f'"{path.parent.name}",{path.stem[:11]},{start},{end},{part}')
        (tmp_path / "annotations" / f"{part}.csv").write_text("\n".join(lines))
    flat, folders = (READERS["k400"](root, "train") for root in (tmp_path, toys / "k400"))
    assert flat.classes == folders.classes
    assert {(s.key, s.label) for s in flat.sources} == {(s.key, s.label) for s in folders.sources}


def test_names_that_differ_only_in_case_get_different_keys(tmp_path: Path) -> None:
    for name in ("abcdefghijk_000001_000011", "ABCDEFGHIJK_000001_000011"):
        (tmp_path / "train" / "a class").mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / "a class" / f"{name}.mp4").write_bytes(b"x")
    keys = {source.key for source in READERS["k400"](tmp_path, "train").sources}
    assert len(keys) == 2 and all(KEY.fullmatch(key) for key in keys)


@pytest.mark.parametrize(
    ("name", "missing", "words"),
    [
        ("k400", "train", "has no folder train; found"),
        ("ssv2", "20bn-something-something-v2", "has no folder 20bn-something-something-v2"),
        ("ssv2", "labels/train.json", "labels/train.json: there is no such list file"),
        ("ucf101", "UCF-101", "has no folder UCF-101"),
        ("ucf101", "ucfTrainTestlist/testlist02.txt", "testlist02.txt: there is no such list file"),
        ("hmdb51", "testTrainMulti_7030_splits", "has no folder testTrainMulti_7030_splits"),
    ],
)
def test_a_partial_layout_says_what_was_looked_for_and_where(toys: Path, tmp_path: Path, name: str, missing: str, words: str) -> None:
    root = tmp_path / name
    shutil.copytree(toys / name, root)
    (root / missing).rename(tmp_path / "away")
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        READERS[name](root, DATASETS[name].parts[0])
    assert str(root) in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_no_folder_and_no_videos_are_told(toys: Path, tmp_path: Path, name: str) -> None:
    part = DATASETS[name].parts[0]
    with pytest.raises(UserError, match="there is no such folder. Set root under"):
        READERS[name](tmp_path / "nowhere", part)
    root = tmp_path / name
    shutil.copytree(toys / name, root)
    for path in root.rglob("*"):
        if path.suffix in (".mp4", ".webm", ".avi"):
            path.unlink()
    with pytest.raises(UserError, match="names .* videos, none of which is there"):
        READERS[name](root, part)


@given(st.text(min_size=1))
def test_any_name_gives_a_safe_key(name: str) -> None:
    assert KEY.fullmatch(safe_key(name))


def test_plain_names_keep_their_look_and_lost_letters_leave_a_hash() -> None:
    assert safe_key("v_Archery_g01_c02") == "v_archery_g01_c02"
    assert safe_key("Kötü_#1") == "kotu_-1"
    assert safe_key("日本") != safe_key("中国")
