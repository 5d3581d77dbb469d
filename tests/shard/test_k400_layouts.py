"""Kinetics-400 in class folders and as CVDF mirrors it: both layouts give the same videos."""

import shutil
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS
from kdbatch.shard.sources import Listing


def _cvdf(toys: Path, root: Path) -> Path:
    """The Kinetics stand-in as CVDF mirrors it: flat folders and CSV lists."""
    (root / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        (root / part).mkdir()
        lines = ["label,youtube_id,time_start,time_end,split"]
        for path in sorted((toys / "k400" / part).rglob("*.mp4")):
            shutil.copy(path, root / part)
            start, end = map(int, path.stem[12:].split("_"))
            lines.append(f'"{path.parent.name}",{path.stem[:11]},{start},{end},{part}')
        (root / "annotations" / f"{part}.csv").write_text("\n".join(lines))
    return root


def test_k400_reads_the_same_videos_from_flat_folders_with_csv_lists(
    toys: Path, tmp_path: Path
) -> None:
    flat, folders = (
        READERS["k400"](root, "train") for root in (_cvdf(toys, tmp_path), toys / "k400")
    )
    assert flat.classes == folders.classes
    assert {(s.key, s.label) for s in flat.videos} == {(s.key, s.label) for s in folders.videos}
    assert flat.notes == folders.notes == ()


def test_k400_notes_the_lost_videos_and_those_that_no_list_names(
    toys: Path, tmp_path: Path
) -> None:
    root = _cvdf(toys, tmp_path)
    videos = sorted((root / "train").iterdir())
    videos[0].unlink()
    videos[1].rename(root / "train" / f"{videos[1].stem[:11]}.mp4")  # some copies keep the id alone
    shutil.copy(videos[2], root / "train" / "not_listed_at_all.mp4")
    listing = READERS["k400"](root, "train")
    assert len(listing.videos) == len(videos) - 1
    assert listing.notes == (
        f"{root}/train: left out 1 video that no list names, not_listed_at_all.mp4 first.",
        f"{root}/annotations/train.csv: 1 of {len(videos)} listed videos were not found below "
        f"{root}/train/.",
    )


def test_k400_classes_come_from_the_csv_lists_where_a_folder_is_missing(
    toys: Path, tmp_path: Path
) -> None:
    root = _cvdf(toys, tmp_path)
    for part in ("train", "val"):
        shutil.rmtree(root / part)
        shutil.copytree(toys / "k400" / part, root / part)
    whole = READERS["k400"](root, "train")
    for part in ("train", "val"):
        shutil.rmtree(root / part / whole.classes[0])
        (root / part / whole.classes[1]).rename(root / part / whole.classes[1].replace(" ", "_"))
    partial = READERS["k400"](root, "train")
    assert partial.classes == whole.classes
    assert {(s.key, s.label) for s in partial.videos} < {(s.key, s.label) for s in whole.videos}
    assert len(partial.notes) == 1 and "listed videos were not found below" in partial.notes[0]


def test_a_k400_id_in_two_classes_is_an_error_with_its_line_and_equal_lines_count_once(
    toys: Path, tmp_path: Path
) -> None:
    root = _cvdf(toys, tmp_path)
    path = root / "annotations" / "train.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1]]))
    assert len(READERS["k400"](root, "train").videos) == len(lines) - 1
    path.write_text("\n".join([*lines, "another class," + lines[1].split(",", 1)[1]]))
    with pytest.raises(
        UserError,
        match=f"train.csv: line {len(lines) + 1}: "
        ".* was in the class .* above, here it is in 'another class'",
    ):
        READERS["k400"](root, "train")


def test_k400_the_same_file_in_two_class_folders_is_two_videos_with_two_keys(
    toys: Path, tmp_path: Path
) -> None:
    shutil.copytree(toys / "k400", tmp_path / "k400")
    first, *_, last = sorted((tmp_path / "k400" / "train").rglob("*.mp4"))
    shutil.copy(first, last.parent)
    listing = READERS["k400"](tmp_path / "k400", "train")
    twice = [source for source in listing.videos if source.path.name == first.name]
    assert len({source.key for source in twice}) == len({source.label for source in twice}) == 2


CLIP = "{}_000010_000020.mp4"
IDS = [f"abcdefghi{number:02d}" for number in range(12)]


def _listed(root: Path, *, header: str = "label,youtube_id,time_start,time_end,split\n") -> Path:
    """Twelve ids of three classes in annotations/train.csv, and an empty train/."""
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    lines = [f"{_class_of(i)},{IDS[i]},10,20,train\n" for i in range(12)]
    (root / "annotations" / "train.csv").write_text(header + "".join(lines))
    return root


def _class_of(number: int) -> str:
    return ("archery", "massaging person's head", "shooting goal (soccer)")[number % 3]


def _put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _classes(listing: Listing) -> dict[str, str]:
    return {video.path.stem[:11]: listing.classes[video.label] for video in listing.videos}


PUBLISHED = {IDS[number]: _class_of(number) for number in range(12)}
REPLACEMENTS = [
    "replacement/replacement_for_corrupted_k400",
    "replacement_for_corrupted_k400",
    "replacement",
    "train/replacement_for_corrupted_k400",
    "train/replacement/replacement_for_corrupted_k400",
]


@pytest.mark.parametrize("place", REPLACEMENTS)
def test_replacements_stand_in_for_corrupted_videos_of_a_flat_part(
    tmp_path: Path, place: str
) -> None:
    root = _listed(tmp_path)
    for number, name in enumerate(IDS):
        _put(root / "train" / CLIP.format(name), b"" if number < 2 else b"x")
    better = {_put(root / place / CLIP.format(name)) for name in IDS[:2]}
    _put(root / place / CLIP.format(IDS[2]), b"")  # itself empty, and not needed
    listing = READERS["k400"](root, "train")
    assert _classes(listing) == PUBLISHED
    assert len(listing.classes) == 3
    assert better < {video.path for video in listing.videos}
    assert all(video.path.stat().st_size for video in listing.videos)
    assert not [note for note in listing.notes if "not found" in note or "no list names" in note]
    assert f"2 videos are stored from {root / place}/" in "\n".join(listing.notes)


def test_replacements_stand_in_for_corrupted_videos_in_class_folders_without_a_list(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(IDS):
        _put(tmp_path / "train" / _class_of(number) / CLIP.format(name), b"x" * (number > 0))
    better = _put(tmp_path / REPLACEMENTS[0] / CLIP.format(IDS[0]))
    _put(tmp_path / REPLACEMENTS[0] / CLIP.format("of_the_val0"))
    listing = READERS["k400"](tmp_path, "train")
    assert _classes(listing) == PUBLISHED
    assert better in {video.path for video in listing.videos}
    assert len(listing.notes) == 1


@pytest.mark.parametrize("folder", ["extra downloads", "part_0", "part_0/train", "archery"])
def test_a_list_gives_the_classes_wherever_the_files_lie(tmp_path: Path, folder: str) -> None:
    root = _listed(tmp_path)
    for number, name in enumerate(IDS):
        _put(root / "train" / (folder if number < 5 else "") / CLIP.format(name))
    listing = READERS["k400"](root, "train")
    assert _classes(listing) == PUBLISHED
    num_elsewhere = 3 if folder == "archery" else 5
    assert listing.notes == (
        f"{root}/train: took the class of {num_elsewhere} videos from train.csv, as they are not "
        f"in a folder of that class; the first is {folder}/"
        f"{CLIP.format(IDS[1 if folder == 'archery' else 0])}.",
    )


def test_stray_files_beside_class_folders_get_their_class_from_the_list(tmp_path: Path) -> None:
    root = _listed(tmp_path)
    for number, name in enumerate(IDS):
        folder = _class_of(number) if number > 1 else ""
        _put(root / "train" / folder / CLIP.format(name))
    _put(root / "train" / "archery" / "unlisted____000000_000010.mp4")
    _put(root / "train" / "tmp" / "unlisted2___000000_000010.mp4")
    listing = READERS["k400"](root, "train")
    assert _classes(listing) == {**PUBLISHED, "unlisted___": "archery"}
    assert listing.classes == tuple(sorted(set(PUBLISHED.values())))
    assert [note.split(": ", 1)[1] for note in listing.notes] == [
        "left out 1 video that no list names, unlisted2___000000_000010.mp4 first.",
        "took the class of 1 video from the folder, as train.csv does not list them; the first is "
        "archery/unlisted____000000_000010.mp4.",
    ]


@pytest.mark.parametrize("has_val", [True, False])
def test_a_class_in_two_spellings_is_one_class_and_told(tmp_path: Path, has_val: bool) -> None:
    root = _listed(tmp_path)
    spelt = {"massaging person's head": "massaging_persons_head"}
    spelt["shooting goal (soccer)"] = "Shooting goal soccer"
    for number, name in enumerate(IDS):
        folder = spelt.get(_class_of(number), _class_of(number))
        _put(root / "train" / folder / CLIP.format(name))
        if has_val:
            _put(root / "val" / folder / CLIP.format(name[::-1]))
    listing = READERS["k400"](root, "train")
    assert listing.classes == tuple(sorted(set(PUBLISHED.values())))
    assert _classes(listing) == PUBLISHED
    (note,) = [note for note in listing.notes if "spells" in note]
    assert "spells 2 of 3 classes in another way than" in note
    assert "train.csv, whose spelling counts" in note
    if has_val:
        val = READERS["k400"](root, "val")
        assert val.classes == listing.classes
        assert set(_classes(val).values()) == set(PUBLISHED.values())


def test_parts_that_spell_a_class_differently_share_it(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val")):
        name = ("shooting goal (soccer)", "shooting_goal_soccer")[number]
        _put(tmp_path / part / name / CLIP.format(IDS[2 * number]))
        _put(tmp_path / part / "archery" / CLIP.format(IDS[2 * number + 1]))
    for part in ("train", "val"):
        listing = READERS["k400"](tmp_path, part)
        assert listing.classes == ("archery", "shooting goal (soccer)")
        assert "spells 1 of 2 classes in another way" in listing.notes[0]


def test_folders_of_one_part_that_differ_in_marks_stay_two_classes_and_are_told(
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("throwing ball", "throwing-ball", "C++", "C#")):
        _put(tmp_path / "train" / name / CLIP.format(IDS[number]))
    listing = READERS["k400"](tmp_path, "train")
    assert listing.classes == ("C#", "C++", "throwing ball", "throwing-ball")
    assert "both 'throwing-ball' and 'throwing ball', which count as two" in listing.notes[0]


def test_an_empty_folder_is_no_class_unless_another_part_has_videos_of_it(tmp_path: Path) -> None:
    _put(tmp_path / "train" / "archery" / CLIP.format(IDS[0]))
    _put(tmp_path / "val" / "bowling" / CLIP.format(IDS[1]))
    for name in ("bowling", "tmp", "logs"):
        (tmp_path / "train" / name).mkdir()
    listing = READERS["k400"](tmp_path, "train")
    assert listing.classes == ("archery", "bowling")
    assert listing.notes == (
        f"{tmp_path}/train: 2 folders without a video not counted as classes, logs first.",
    )


def test_without_a_list_the_class_of_most_videos_must_be_known(tmp_path: Path) -> None:
    for number, name in enumerate(IDS):
        _put(tmp_path / "train" / ("archery" if number > 9 else "") / CLIP.format(name))
    with pytest.raises(UserError, match="10 of its 12 videos are not in class folders"):
        READERS["k400"](tmp_path, "train")
    for path in sorted((tmp_path / "train").glob("*.mp4"))[1:]:
        path.unlink()
    listing = READERS["k400"](tmp_path, "train")
    assert _classes(listing) == dict.fromkeys(IDS[10:], "archery")
    assert (
        f"left out 1 video outside of class folders; the first is {CLIP.format(IDS[0])}."
        in (listing.notes[0])
    )


def test_one_file_of_a_listed_video_is_stored(tmp_path: Path) -> None:
    root = _listed(tmp_path)
    for number, name in enumerate(IDS):
        _put(root / "train" / _class_of(number) / CLIP.format(name))
    _put(root / "train" / "archery" / CLIP.format(IDS[1]))
    _put(root / "train" / CLIP.format(IDS[2]))
    listing = READERS["k400"](root, "train")
    assert _classes(listing) == PUBLISHED and len(listing.videos) == 12
    assert "left out 2 videos with the name of a listed video that is stored" in listing.notes[0]


def test_an_id_without_times_that_is_in_two_classes_is_left_out(tmp_path: Path) -> None:
    root = _listed(tmp_path)
    with (root / "annotations" / "train.csv").open("a") as file:
        file.write(f"archery,{IDS[1]},50,60,train\n")
    for name in IDS[:2]:
        _put(root / "train" / f"{name}.mp4")
    assert _classes(READERS["k400"](root, "train")) == {IDS[0]: "archery"}


@pytest.mark.parametrize("header", ["", "\ufeff", "label,youtube_id,time_start,time_end,split\r\n"])
def test_a_csv_without_its_header_loses_no_line(tmp_path: Path, header: str) -> None:
    root = _listed(tmp_path, header=header)
    for name in IDS:
        _put(root / "train" / CLIP.format(name))
    listing = READERS["k400"](root, "train")
    assert _classes(listing) == PUBLISHED and listing.notes == ()


def test_columns_of_a_csv_are_found_by_their_names(tmp_path: Path) -> None:
    root = _listed(tmp_path)
    path = root / "annotations" / "train.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join(reversed(row)) + "\n" for row in rows))
    for name in IDS:
        _put(root / "train" / CLIP.format(name))
    assert _classes(READERS["k400"](root, "train")) == PUBLISHED


@pytest.mark.parametrize("first", ["class,id,start,end", "archery,abcdefghijk,1" + "0" * 5000])
def test_a_first_line_that_is_neither_header_nor_video_is_told(tmp_path: Path, first: str) -> None:
    root = _listed(tmp_path, header=first + "\n")
    with pytest.raises(UserError, match=r"train\.csv: line 1: expected label,youtube_id"):
        READERS["k400"](root, "train")


SYSTEM_FOLDERS = [".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "#recycle", ".cache"]


@pytest.mark.parametrize("is_flat", [True, False])
def test_hidden_and_system_names_are_neither_videos_nor_classes(
    tmp_path: Path, is_flat: bool
) -> None:
    root = _listed(tmp_path)
    for number, name in enumerate(IDS):
        folder = root / "train" / ("" if is_flat else _class_of(number))
        _put(folder / CLIP.format(name))
        _put(folder / f"._{CLIP.format(name)}")
        _put(folder / "Thumbs.db")
    for name in SYSTEM_FOLDERS:
        (root / "train" / name).mkdir()
    _put(root / "train" / "__MACOSX" / f"._{CLIP.format(IDS[0])}")
    for has_list in (True, False):
        if not has_list:
            (root / "annotations" / "train.csv").unlink()
            if is_flat:
                return
        listing = READERS["k400"](root, "train")
        assert _classes(listing) == PUBLISHED and len(listing.videos) == 12
        assert listing.classes == tuple(sorted(set(PUBLISHED.values())))
        (note,) = listing.notes
        first = ("" if is_flat else "__MACOSX/") + f"._{CLIP.format(IDS[0])}"
        assert note.endswith(f"left out 13 hidden files with the name of a video, {first} first.")
