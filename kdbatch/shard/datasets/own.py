"""Reads the data sets that kdbatch.toml declares, from class folders or a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.shard.datasets.class_names import ClassNames
from kdbatch.shard.datasets.folders import Folder, hidden_note, scan_folder
from kdbatch.shard.datasets.split_shares import draw_splits
from kdbatch.shard.datasets.video_table import read_table
from kdbatch.shard.sources import (
    Listing,
    find_root,
    listed_number,
    make_video,
    name_text,
    printable,
    with_unique_keys,
)
from kdbatch.vocab.datasets import Dataset
from kdbatch.vocab.sources.dataset_source import DatasetSource, group_pattern

SPLIT_FOLDERS = ("train", "val", "validation", "test")
NESTED_FOLDERS = 6  # folders within folders, such as SPLIT/CLASS/PERSON


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A video before it has a key. `label` is a class name, None where there are no labels;
    `split` and `group` are empty where folders or table do not say them.
    """

    path: Path
    label: str | None
    split: str = ""
    group: str = ""


def read_own(name: str, source: DatasetSource, root: Path) -> tuple[Dataset, Listing]:
    """The data set as it is found below `root`, and its videos of all splits.

    Labels are the ranks of class names, of which numbers are sorted by size. Notes name what was
    left out, and what is odd about the splits.

    Raises:
        UserError: the layout is another one, a line of the table is wrong, no path matches the
            pattern of groups, or a class has videos to test and none to train on.
    """
    find_root(root)
    if source.layout == "table":
        found, notes = _from_table(source, root), ()
    else:
        found, notes = _from_folders(source, root)
    if not found:
        raise UserError(f"{root}: has no videos where {source.layout} are looked for.")
    found, group_notes = _grouped(found, source, root)
    found = _split(found, source, root)
    names = sorted({video.label for video in found if video.label is not None}, key=_class_rank)
    label_of = {label: rank for rank, label in enumerate(names)}
    splits = tuple(source.shares) or _in_order(video.split for video in found)
    if few := [split for split in splits if not any(video.split == split for video in found)]:
        raise UserError(
            f"{root}: no video falls to {few[0]}. Write a larger share, or leave it out of shares."
        )
    videos = [
        make_video(
            video.path,
            label_of.get(video.label or "", 0),
            splits=(video.split,),
            part=video.split,
            group=video.group,
        )
        for video in found
    ]
    unique = [
        video
        for split in splits
        for video in with_unique_keys([v for v in videos if v.part == split], where=root, root=root)
    ]
    dataset = source.described(
        name,
        num_classes=len(names),
        num_videos={split: sum(video.split == split for video in found) for split in splits},
        videos_per_group=len(found) / len({video.group for video in found}),
    )
    more = (*group_notes, *_class_notes(found, dataset, root))
    return dataset, Listing(classes=tuple(names), videos=tuple(unique), notes=(*notes, *more))


def _class_rank(label: str) -> tuple[int, int, str]:
    number = listed_number(label)
    return (1, 0, label) if number is None else (0, number, label)


def _in_order(splits: Iterable[str]) -> tuple[str, ...]:
    """The splits, training first."""
    usual = {split: rank for rank, split in enumerate(SPLIT_FOLDERS)}
    return tuple(sorted(set(splits), key=lambda split: (usual.get(split, len(usual)), split)))


def _from_table(source: DatasetSource, root: Path) -> list[_Found]:
    rows = read_table(Path(source.table), source.columns, root=root)
    return [
        _Found(path=row.path, label=row.label, split=row.split or "", group=row.group or "")
        for row in rows
    ]


def _from_folders(source: DatasetSource, root: Path) -> tuple[list[_Found], tuple[str, ...]]:
    """The videos of class folders, below folders of splits unless shares are given."""
    tree = scan_folder(root, depth=NESTED_FOLDERS)
    split_folders = tuple(below for below in tree.subfolders if below.name in SPLIT_FOLDERS)
    tops = (tree,) if source.shares else split_folders
    if not tops:
        names = [printable(folder.name) for folder in tree.subfolders]
        raise UserError(
            f"{root}: has none of the folders {', '.join(SPLIT_FOLDERS)}; found "
            f"{', '.join(names[:6]) or 'no folder'}. If these are classes, let kdbatch split them: "
            "shares = {train = 0.8, test = 0.2}"
        )
    has_classes = any(below.has_videos for top in tops for below in top.subfolders)
    found = [
        _Found(path=path, label=label, split="" if source.shares else top.name)
        for top in tops
        for label, folder in _class_folders(top, has_classes=has_classes)
        for below in folder.walk()
        for path in below.videos
    ]
    loose = [path for top in tops for path in top.videos] if has_classes else []
    others = [] if source.shares else [f.name for f in tree.subfolders if f not in tops]
    if not source.shares:
        loose += tree.videos
    return found, (*_left_out(root, loose, others), *hidden_note(tree))


def _class_folders(top: Folder, *, has_classes: bool) -> Iterator[tuple[str | None, Folder]]:
    """Class names and their folders; the folder itself, without a class, where there are none."""
    if not has_classes:
        yield None, top
    for folder in top.subfolders if has_classes else ():
        yield folder.name, folder


def _left_out(root: Path, loose: Sequence[Path], others: Sequence[str]) -> Iterator[str]:
    if loose:
        videos, first = plural(len(loose), "video"), printable(name_text(loose[0].name))
        yield f"{root}: left out {videos} outside of class folders; the first is {first}."
    if others:
        folders, splits = plural(len(others), "folder"), ", ".join(SPLIT_FOLDERS)
        yield f"{root}: left out {folders} not named {splits}; the first is {printable(others[0])}."


def _grouped(
    found: Sequence[_Found], source: DatasetSource, root: Path
) -> tuple[list[_Found], tuple[str, ...]]:
    """The videos with groups: the table's, or what the pattern finds, or else one of their own."""
    if source.group and any(video.group for video in found):
        raise UserError(
            f"{source.table}: has a column of groups, and kdbatch.toml has a pattern of them as "
            'well. Leave group out, or name another column: columns = {group = "COLUMN"}'
        )
    pattern = group_pattern(source.group) if source.group else None
    unmatched: list[str] = []

    def group_of(video: _Found) -> str:
        path = name_text(video.path.relative_to(root).as_posix())
        match = pattern.search(path) if pattern else None
        if match is None:
            unmatched.append(path)
            return video.group or path
        named = match.re.groupindex.get("group", 1)
        return match[named] or path

    grouped = [replace(video, group=group_of(video)) for video in found]
    if pattern and len(unmatched) == len(found):
        raise UserError(
            f"{root}: the pattern group = {source.group!r} is in none of the paths below it, such "
            f"as {printable(unmatched[0])}. Change it in kdbatch.toml."
        )
    if not pattern or not unmatched:
        return grouped, ()
    videos, first = plural(len(unmatched), "video"), printable(unmatched[0])
    return grouped, (
        f"{root}: the pattern of groups is not in the paths of {videos}, which are groups of their "
        f"own; the first is {first}.",
    )


def _split(found: list[_Found], source: DatasetSource, root: Path) -> list[_Found]:
    """The videos with splits: those that they have, or else drawn ones."""
    has_splits = bool(found[0].split)
    where = source.table or str(root)
    if has_splits and source.shares:
        raise UserError(
            f"{where}: has a column of splits, and kdbatch.toml has shares as well. Leave shares "
            'out, or name another column: columns = {split = "COLUMN"}'
        )
    if not has_splits and not source.shares:
        raise UserError(
            f"{where}: has no column {source.columns.split!r}. Add it, name another with columns = "
            '{split = "COLUMN"}, or let kdbatch split the videos: shares = {train = 0.8, test = '
            "0.2}"
        )
    if has_splits:
        return found
    pairs = [(video.group, video.label) for video in found]
    splits = draw_splits(pairs, shares=source.shares, seed=source.seed)
    return [replace(video, split=split) for video, split in zip(found, splits, strict=True)]


def _class_notes(found: Sequence[_Found], dataset: Dataset, root: Path) -> Iterator[str]:
    """Lines on classes that one split alone has, on two with nearly the same name, and on groups
    that several splits have.

    Raises:
        UserError: a class has videos to test on and none to train on.
    """
    splits_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for video in found:
        splits_of[video.label or ""][video.split] += 1
        groups[video.group].add(video.split)
    alone = {label: splits for label, splits in splits_of.items() if len(splits) == 1 and label}
    train, test = dataset.train_split, dataset.test_split
    for label, splits in splits_of.items():
        is_tested = {train, test} <= dataset.part_of.keys() and label and splits[test]
        if is_tested and not splits[train]:
            raise UserError(
                f"{root}: the class {printable(label)!r} has {plural(splits[test], 'video')} in "
                f"{test} and none in {train}, so no network can know it. Spell it alike in both, "
                "add videos, or leave the class out."
            )
    names = ClassNames()
    for label in sorted(splits_of):
        names.add(label, source=str(root))
    yield from names.notes()
    if alone and len(dataset.part_of) > 1:
        label, splits = next(iter(alone.items()))
        classes = "1 class has" if len(alone) == 1 else f"{len(alone)} classes have"
        yield (
            f"{root}: {classes} videos in one split alone; the first is {printable(label)}, in "
            f"{next(iter(splits))}."
        )
    parted = [group for group, splits in groups.items() if len(splits) > 1]
    if parted:
        yield (
            f"{root}: {plural(len(parted), 'group')} with videos in several splits: a network may "
            f"know what it is tested on. The first is {printable(parted[0])}."
        )
