"""A subset of the videos that are stored: which there are, and where each lies."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.command_lines import resume_command, shard_command
from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Count
from kdbatch.base.reading.video_counts import parse_video_count
from kdbatch.vocab.datasets import first_split_of, shares_part
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import (
    ORIGINALS,
    Part,
    Sample,
    Shard,
    ShardIndex,
    load_index,
    load_indexed_record,
)


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The first `num_places` videos of a split's order.

    `num_places` 0 means every video of the split (the only choice where splits share a part).
    `digest` is a hash over the videos' bytes, labels and order; empty while they are not stored.
    `without` are the keys, sorted, of videos that are left out, whatever the reason.
    """

    dataset: str
    split: str
    num_places: Count
    num_classes: Count
    digest: str
    without: tuple[str, ...] = new_field(())

    @property
    def title(self) -> str:
        return f"{self.dataset}/{self.split}" + (f"[:{self.num_places}]" if self.num_places else "")


def find_subset(index: ShardIndex, split: str, size: str, *, where: str) -> Subset:
    """The Subset of `split` with `size` videos (see parse_video_count), if it has been sharded.

    Raises:
        UserError: the split is unknown, has fewer videos than requested, or fewer are sharded.
    """
    dataset = index.dataset
    part_name = lookup(index.part_names, split, where=where)
    where = f"{where}: {dataset}/{split}"
    if part_name not in index.parts:
        raise UserError(f"{where} has no shards. Make them: {shard_command(dataset, split=split)}")
    part = index.parts[part_name]
    is_shared = shares_part(index.part_names, split)
    num_places = requested_places(size, total=part.num_in_source, is_shared=is_shared, where=where)
    if num_places > part.num_places:
        request = request_like(index, part_name, subset=num_places)
        raise UserError(
            f"{where}: {num_places} videos asked for, {part.num_places} sharded so far. "
            f"Add them: {request.command}"
        )
    if is_shared and not part.num_in_split.get(split):
        raise UserError(
            f"{where}: no video belongs to this split. Check the data set's list files and shard "
            "it again."
        )
    return Subset(
        dataset=dataset,
        split=split,
        num_places=0 if is_shared else num_places,
        num_classes=len(index.classes),
        digest=_digest(index, split, part, num_places),
    )


def requested_places(size: str, *, total: int, is_shared: bool, where: str) -> int:
    """The number of places, out of `total` of the split's part, that a subset of `size` takes.

    Raises:
        UserError: `size` is no number of videos, too large, or not `all` where splits share a part.
    """
    if not is_shared:
        return parse_video_count(size, total, where=where)
    if size != "all":
        raise UserError(f"{where} is used whole; found subset {size}. Write all.")
    return total


def _digest(index: ShardIndex, split: str, part: Part, num_places: int) -> str:
    hashes = [shard.sha256 for shard in _first_shards(index, part, num_places)]
    lines = [index.dataset, split, str(num_places), *index.classes, *hashes]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def request_like(index: ShardIndex, part: str, *, subset: int) -> ShardRequest:
    """A request for the first `subset` videos of a part, stored like those that are there."""
    return ShardRequest(
        dataset=index.dataset,
        split=first_split_of(index.part_names, part),
        subset=str(subset),
        videos_per_shard=index.videos_per_shard,
        transcode=index.encoding != ORIGINALS,
    )


def load_samples(shards_dir: Path, subset: Subset) -> Iterator[tuple[Path, Sample]]:
    """(tar, sample) for every stored video of a Subset, in order.

    Raises:
        UserError: shards are missing, or are not those with which the Subset was planned.
    """
    index = load_index(shards_dir, subset.dataset)
    size = str(subset.num_places) if subset.num_places else "all"
    found = find_subset(index, subset.split, size, where=str(shards_dir))
    folder = shards_dir / subset.dataset
    if found.digest != subset.digest:
        raise UserError(
            f"{folder}: the shards of {subset.title} changed since this run was planned. "
            f"Plan it again: {resume_command()}"
        )
    without = frozenset(subset.without)
    for shard in shards_of(index, subset):
        for sample in load_indexed_record(folder, shard).samples:
            is_within = not subset.num_places or sample.place < subset.num_places
            if is_within and subset.split in sample.splits and sample.key not in without:
                yield folder / shard.name, sample


def shards_of(index: ShardIndex, subset: Subset) -> tuple[Shard, ...]:
    """The shards that hold the subset. The last one may hold more videos than the subset has."""
    part = index.part_of(subset.split)
    return _first_shards(index, part, subset.num_places or part.num_places)


def _first_shards(index: ShardIndex, part: Part, num_places: int) -> tuple[Shard, ...]:
    return part.shards[: math.ceil(num_places / index.videos_per_shard)]
