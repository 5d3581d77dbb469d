"""Leaves the videos of overlap lists out of a subset, if the lists are of the shards here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kdbatch.base.command_lines import overlap_command
from kdbatch.base.errors import UserError
from kdbatch.vocab.leaks.overlap_list import ListedPair, OverlapList, load_overlap_list, stored_part
from kdbatch.vocab.shards.index import Sample, ShardIndex, load_indexed_record
from kdbatch.vocab.shards.subset import Subset

IndexOf = Callable[[str], ShardIndex | None]


def without_listed(
    subset: Subset, lists: Sequence[Path], *, index_of: IndexOf, shards_dir: Path, where: str
) -> Subset:
    """The subset without the videos of it that the lists name.

    Lists are read once the videos are stored: a list is of stored videos.

    Raises:
        UserError: a list is missing, damaged, of another data set or of other shards, or names a
            video that is not where it says.
    """
    index = index_of(subset.dataset)
    if not lists or index is None or not subset.digest:
        return subset
    keys: set[str] = set()
    for path in lists:
        listed = load_overlap_list(path, first=subset.dataset, where=where)
        _check_shards(listed, subset, path, index=index, index_of=index_of, where=where)
        keys.update(_keys(listed, subset, path, index=index, shards_dir=shards_dir, where=where))
    return replace(subset, without=tuple(sorted(keys)))


def _check_shards(
    listed: OverlapList,
    subset: Subset,
    path: Path,
    *,
    index: ShardIndex,
    index_of: IndexOf,
    where: str,
) -> None:
    """Raise a UserError unless the list was made from what is stored, and covers the subset."""

    def refuse(problem: str) -> UserError:
        again = overlap_command(listed.first, listed.second, to=path)
        return UserError(
            f"{where}: {path} {problem}. Keep what you have changed in it elsewhere, delete it, "
            f"and make it again: {again}"
        )

    name = index.part_names[subset.split]
    part = index.parts[name]
    num_needed = subset.num_places or part.num_places
    made_from = {(made.dataset, made.part): made for made in listed.made_from}
    made = made_from.get((subset.dataset, name))
    if made is None:
        raise refuse(f"was made before {subset.dataset}/{name} was stored")
    is_stored = made.num_places <= part.num_places
    if not is_stored or stored_part(index, name, made.num_places) != made:
        raise refuse(f"was made from other shards of {subset.dataset}/{name}")
    if made.num_places < num_needed:
        raise refuse(
            f"was made from the first {made.num_places:,} videos of {subset.dataset}/{name}, and "
            f"this needs {num_needed:,}"
        )
    other = index_of(listed.second)
    if other is None:
        return
    for other_name, other_part in other.parts.items():
        now = stored_part(other, other_name, other_part.num_places)
        if made_from.get((listed.second, other_name)) != now:
            raise refuse(f"was made from other shards of {listed.second}/{other_name}")


def _keys(
    listed: OverlapList,
    subset: Subset,
    path: Path,
    *,
    index: ShardIndex,
    shards_dir: Path,
    where: str,
) -> Iterator[str]:
    """The keys of the subset's videos that the list names."""
    name = index.part_names[subset.split]
    pairs = [pair for pair in listed.pairs if pair.video.split("/")[1] == name]
    records: dict[int, dict[int, Sample]] = {}
    for pair in pairs:
        number = pair.place // index.videos_per_shard
        if number not in records:
            records[number] = _by_place(index, name, number, shards_dir=shards_dir)
        sample = records[number].get(pair.place)
        if sample is None or pair.video != f"{subset.dataset}/{name}/{sample.key}":
            raise UserError(_misplaced(pair, sample, path, where))
        is_within = not subset.num_places or pair.place < subset.num_places
        if is_within and subset.split in sample.splits:
            yield sample.key


def _by_place(index: ShardIndex, part: str, number: int, *, shards_dir: Path) -> dict[int, Sample]:
    shards = index.parts[part].shards
    if not 0 <= number < len(shards):
        return {}
    record = load_indexed_record(shards_dir / index.dataset, shards[number])
    return {sample.place: sample for sample in record.samples}


def _misplaced(pair: ListedPair, sample: Sample | None, path: Path, where: str) -> str:
    there = f"{sample.key} is stored" if sample else "no video is stored"
    return (
        f"{where}: {path} has {pair.video} at place {pair.place}, where {there}. Lines may be "
        "deleted, not changed: write this one as it was, or delete it."
    )
