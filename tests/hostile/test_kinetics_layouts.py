"""Downloads of Kinetics as people have them, drawn from a seed: what is stored has its true class,
and what is not stored is counted in a note.

The class of every file is known, as the files are laid out from a table of videos.
"""

import random
import re
import string
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.datasets import READERS
from kdbatch.shard.sources import Listing

pytestmark = pytest.mark.hostile

NUM_LAYOUTS = 400
CLASSES = (
    "abseiling",
    "air drumming",
    "massaging person's head",
    "passing American football (in game)",
    "tai chi",
    "caf\u00e9 dancing",
)
HEADERS = (
    "label,youtube_id,time_start,time_end,split",
    "Label,YouTube_ID,Time_Start,Time_End,Split",
)
NEWLINES, PLACES = ("\n", "\r\n"), ("annotations", "")
HIDDEN = ("._{}", ".{}", "__MACOSX/{}", ".ipynb_checkpoints/{}", ".Trash/{}", "@eaDir/{}")
LEFT_OUT = re.compile(r"left out (\d+) videos? (?:that|with the name|outside)")
HIDDEN_NOTE = re.compile(r"left out (\d+) hidden files?")
LOST_NOTE = re.compile(r": (\d+) of (\d+) listed videos were not found")
REPLACED_NOTE = re.compile(r": (\d+) videos? (?:is|are) stored from")


@dataclass
class Layout:
    """A part on disk; `class_of` has the truth for each file, `listed` the lines of its list."""

    root: Path
    has_list: bool
    class_of: dict[Path, str] = field(default_factory=dict)
    hidden: int = 0
    listed: list[tuple[str, str, int, int]] = field(default_factory=list)


def draw_layout(root: Path, rng: random.Random) -> Layout:
    """Lay out 12 to 30 videos of `train`, its list or none, and what else lies there."""
    layout = Layout(root, has_list=rng.random() < 0.7)
    (root / "train").mkdir(parents=True)
    habit = rng.choice(("flat", "class", "class", "mixed", "archives"))
    for _ in range(rng.randint(12, 30)):
        _draw_video(layout, habit, rng)
    for _ in range(rng.randint(0, 3)):
        _draw_hidden(layout, rng)
    if layout.has_list:
        _write_list(layout, rng)
    return layout


def _draw_video(layout: Layout, habit: str, rng: random.Random) -> None:
    video_id = "".join(rng.choices(string.ascii_letters + string.digits + "_-", k=11))
    name, start = rng.choice(CLASSES), rng.randrange(1000)
    stem = f"{video_id}_{start:06d}_{start + 10:06d}"
    fate = rng.random()
    if layout.has_list and fate > 0.1:
        layout.listed.append((name, video_id, start, start + 10))
        if fate < 0.2:
            return  # it was never downloaded
    is_listed = layout.has_list and fate > 0.1
    below = _folder(habit, name, rng, is_listed=is_listed, has_list=layout.has_list)
    path = layout.root / "train" / below / f"{stem}.mp4"
    if fate < 0.9:
        _write(layout, path, name)
        if fate > 0.85 and layout.has_list:  # a second copy in another folder
            _write(layout, layout.root / "train" / "copies" / path.name, name)
        return
    place = rng.choice(("train/replacement", "replacement", "replacement for corrupted k400"))
    if place == "replacement for corrupted k400":
        place = rng.choice((f"train/{place}", f"replacement/{place.replace(' ', '_')}"))
    _write(layout, path, name, size=0)
    _write(layout, layout.root / place / path.name, name)


def _folder(habit: str, name: str, rng: random.Random, *, is_listed: bool, has_list: bool) -> str:
    """Where the video lies below its part. Only a list can correct a folder of another class."""
    in_class = rng.choice((name, name.replace(" ", "_")))
    if not has_list:
        return in_class
    wrong = rng.choice(CLASSES) if is_listed and rng.random() < 0.05 else in_class
    archive = f"train_{rng.randrange(3)}"
    flat = rng.choice(("", "", "", "more videos"))
    return {
        "flat": flat,
        "class": wrong,
        "mixed": rng.choice((flat, wrong)),
        "archives": rng.choice((archive, f"{archive}/{in_class}")),
    }[habit]


def _write(layout: Layout, path: Path, name: str, *, size: int = 5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    layout.class_of[path] = name


def _draw_hidden(layout: Layout, rng: random.Random) -> None:
    part = layout.root / "train"
    folders = [part, *(p for p in sorted(part.iterdir()) if p.is_dir() and p.name[0] not in "._@")]
    name = f"{rng.randrange(10**6):06d}hid.mp4"
    path = rng.choice(folders) / rng.choice(HIDDEN).format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    layout.hidden += 1


def _write_list(layout: Layout, rng: random.Random) -> None:
    lines = []
    for name, video_id, start, end in layout.listed:
        cells = [f'"{name}"' if rng.random() < 0.3 else name, video_id, str(start), str(end)]
        lines += [",".join([*cells, "train"])] * (2 if rng.random() < 0.05 else 1)
    rng.shuffle(lines)
    if rng.random() < 0.7:
        lines.insert(0, rng.choice(HEADERS))
    text = rng.choice(NEWLINES).join(lines) + rng.choice(("", "\n", "\n\n"))
    folder = layout.root / rng.choice(PLACES)
    folder.mkdir(exist_ok=True)
    text = rng.choice(("", "\ufeff")) + text  # Excel begins UTF-8 with a byte order mark
    (folder / "train.csv").write_text(text, encoding="utf-8", newline="")


def number(pattern: re.Pattern[str], notes: str) -> int:
    return sum(int(found[1]) for found in pattern.finditer(notes))


def faults_of(layout: Layout, listing: Listing) -> list[str]:
    """List the faults of a listing of the layout."""
    notes = "\n".join(listing.notes)
    faults = []
    for video in listing.videos:
        path = Path(video.path)
        if listing.classes[video.label] != layout.class_of.get(path):
            found = f"{path} is stored as {listing.classes[video.label]}"
            faults.append(f"{found}, and is {layout.class_of.get(path)}")
    if extra := set(listing.classes) - set(CLASSES):
        faults.append(f"classes of nobody: {extra}")
    stems = Counter(Path(video.path).stem for video in listing.videos)
    if max(stems.values()) > 1:
        faults.append("a video is stored twice")
    num_left_out = number(LEFT_OUT, notes)
    num_replaced = 0 if layout.has_list else number(REPLACED_NOTE, notes)
    # Of files beside the part, the list tells which belong to it.
    accounted = len(listing.videos) + num_left_out + num_replaced
    if accounted != len(layout.class_of):
        faults.append(f"{len(layout.class_of)} files, {accounted} stored or told: {notes}")
    if number(REPLACED_NOTE, notes) != sum("replacement" in str(v.path) for v in listing.videos):
        faults.append(f"another number of replacements is told: {notes}")
    if number(HIDDEN_NOTE, notes) != layout.hidden:
        faults.append(f"{layout.hidden} hidden files, and not told so: {notes}")
    if layout.has_list:
        found = {Path(v.path).stem[:11] for v in listing.videos}
        num_lost = sum(video_id not in found for _, video_id, _, _ in layout.listed)
        if number(LOST_NOTE, notes) != num_lost:
            faults.append(f"{num_lost} listed videos are not stored, and not told so: {notes}")
    return faults


def test_no_layout_is_stored_under_a_wrong_class_or_loses_a_video_in_silence(
    tmp_path: Path, rng: random.Random
) -> None:
    faults: list[str] = []
    outcomes: Counter[str] = Counter()
    for i in range(NUM_LAYOUTS):
        layout = draw_layout(tmp_path / str(i), rng)
        try:
            listing = READERS["k400"](layout.root, "train")
        except UserError as error:
            outcomes["refused"] += 1
            assert len(str(error).splitlines()) == 1
            faults += [f"{i}: {error}"]
            continue
        outcomes["stored"] += 1
        outcomes["videos"] += len(listing.videos)
        outcomes["noted"] += bool(listing.notes)
        faults += [f"{i}: {fault}" for fault in faults_of(layout, listing)]
    print(dict(outcomes))  # noqa: T201
    assert not faults, "\n".join(faults[:20])
    assert outcomes["stored"] >= 0.9 * NUM_LAYOUTS and outcomes["noted"] > NUM_LAYOUTS / 2
