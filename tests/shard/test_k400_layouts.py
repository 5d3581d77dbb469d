"""Kinetics-400 in class folders and as CVDF mirrors it: both layouts give the same videos."""

import shutil
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS


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
        f"{root}/annotations/train.csv: 1 of {len(videos)} listed videos are not on disk, "
        "as is usual for Kinetics.",
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
    assert len(partial.notes) == 1 and "listed videos are not on disk" in partial.notes[0]


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
