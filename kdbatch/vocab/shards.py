"""What lies in `shards/<dataset>/`: tars, a record beside each tar, and `index.json`, the file that
other rooms read.

    shards/k400/train-00000.tar    KEY.mp4, KEY.idx, KEY.json per video, in prefix order; originals:
    KEY.<suffix>, KEY.json shards/k400/train-00000.json   ShardRecord: one Sample per stored video,
    one Reject per broken one; written after its tar shards/k400/index.json         ShardIndex;
    written last

Shard i of a part holds the videos at places [i*n, (i+1)*n) of the part's order, n =
videos_per_shard. So a shard never changes when a larger subset is asked for, and the first N places
are the subset of size N.
"""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from kdbatch.base.atomic_write import load_json
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest

ORIGINALS = "originals v1"
"""A ShardIndex's encoding where videos are stored as they came."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One stored video. Offsets and sizes are bytes inside the tar; `place` counts in the part's
    order, rejected videos included.
    """

    key: str
    place: int
    label: int
    splits: tuple[str, ...]
    group: str
    num_frames: int
    fps: float
    source_fps: float
    width: int
    height: int
    offset: int
    num_bytes: int
    index_offset: int
    index_bytes: int
    crc32: int
    # H.264 decoder configuration (avcC), hex; empty for an original, which has no packet index
    # either
    extradata: str
    container: str = "mp4"  # suffix of the member that holds the video


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A video that could not be stored, and why. With another size or time its file is another one,
    to be tried again.

    Both are 0 where there was no file to read, and None in a record from before they were kept.
    """

    key: str
    place: int
    path: str
    reason: str
    num_bytes: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What is in one tar. `encoding` is empty in a record from before it was kept there."""

    name: str
    num_bytes: int
    sha256: str
    samples: tuple[Sample, ...]
    rejected: tuple[Reject, ...]
    encoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One line of the index. `lengths_seconds` are eleven of its videos' lengths: the shortest,
    every tenth part of the way, the longest. An index that was written before they were kept has
    none.
    """

    name: str
    num_videos: int
    num_rejected: int
    num_frames: int
    num_bytes: int
    sha256: str
    fps: float
    lengths_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """All shards of one part. `num_in_source` videos were found; the first `num_places` of their
    order are sharded.
    """

    num_in_source: int
    num_places: int
    num_in_split: dict[str, int]
    shards: tuple[Shard, ...]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """`index.json`. `classes` are in published order: a label is a place in it."""

    dataset: str
    classes: tuple[str, ...]
    videos_per_shard: int
    encoding: str
    parts: dict[str, Part]


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The first `num_places` videos of a split's order. `digest` stands for their bytes, labels and
    order.

    `num_places` 0 means every video of the split (the only choice where splits share a part).
    """

    dataset: str
    split: str
    num_places: int
    num_classes: int
    digest: str

    @property
    def title(self) -> str:
        return f"{self.dataset}/{self.split}" + (f"[:{self.num_places}]" if self.num_places else "")


def load_index(shards_dir: Path, dataset: str) -> ShardIndex:
    """The index of a sharded data set.

    Raises:
        UserError: the data set is unknown, has no shards here, or its index is damaged.
    """
    lookup(DATASETS, dataset, where="dataset")
    path = shards_dir / dataset / "index.json"
    if not path.exists():
        raise UserError(
            f"{dataset} has no shards under {shards_dir}/. Make them: kdbatch shard {dataset}"
        )
    return parse(ShardIndex, load_json(path), where=str(path))


def parse_video_count(words: str, total: int, *, where: str, instead: str = "") -> int:
    """Number of videos that `50k`, `10%`, `2000`, `1.5m` or `all` asks for, out of `total`;
    `instead` is what else would do.

    A share is rounded down.

    Raises:
        UserError: not such words, or more than `total`.
    """
    found = re.fullmatch(
        r"(\d{1,12}(?:\.\d{1,6})?)([km%]?)", words.strip().lower().replace("_", ""), re.ASCII
    )
    units = {"": 1, "k": 1000, "m": 1_000_000, "%": Fraction(total, 100)}
    number = (
        Fraction(total)
        if words.strip().lower() == "all"
        else Fraction(found[1]) * units[found[2]]
        if found
        else Fraction(0)
    )
    if number < 1 or (found and found[2] != "%" and number.denominator != 1):
        raise UserError(
            f"{where}: {words!r} is no number of videos. Write for example 2000, 50k, 10% or all."
        )
    if number > total:
        raise UserError(
            f"{where}: {words} videos asked for, but there are only {total}. Write all, or at most {total}{instead}."
        )
    return int(number)


def find_subset(index: ShardIndex, split: str, size: str, *, where: str) -> Subset:
    """The Subset of `split` that `words` names, checked against what has been sharded.

    Raises:
        UserError: unknown split, more videos than the split has, or fewer sharded than asked for.
    """
    dataset = index.dataset
    part_name = lookup(DATASETS[dataset].part_of, split, where=where)
    if part_name not in index.parts:
        raise UserError(
            f"{where}: {dataset}/{split} has no shards. Make them: kdbatch shard {dataset} --split {split}"
        )
    part = index.parts[part_name]
    shared = list(DATASETS[dataset].part_of.values()).count(part_name) > 1
    if shared and size != "all":
        raise UserError(
            f"{where}: {dataset}/{split} is used whole; found subset {size}. Write all."
        )
    total = part.num_in_source
    smaller = "; or choose a profile that asks for fewer, as --profile toy does"
    num_places = (
        total
        if shared
        else parse_video_count(size, total, where=f"{where}: {dataset}/{split}", instead=smaller)
    )
    if num_places > part.num_places:
        request = request_like(index, part_name, subset=num_places)
        raise UserError(
            f"{where}: {dataset}/{split}: {num_places} videos asked for, {part.num_places} sharded so far. Add them: {request.command}"
        )
    if shared and not part.num_in_split.get(split):
        raise UserError(
            f"{where}: {dataset}/{split}: no video belongs to this split. Check the data set's list files and shard it again."
        )
    parts = [
        dataset,
        split,
        str(num_places),
        *index.classes,
        *(shard.sha256 for shard in _first_shards(index, part, num_places)),
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return Subset(
        dataset=dataset,
        split=split,
        num_places=0 if shared else num_places,
        num_classes=len(index.classes),
        digest=digest,
    )


def request_like(index: ShardIndex, part: str, *, subset: int) -> ShardRequest:
    """For so many videos of a part, stored as those are that are there."""
    return ShardRequest(
        dataset=index.dataset,
        split=DATASETS[index.dataset].first_split_of(part),
        subset=str(subset),
        videos_per_shard=index.videos_per_shard,
        transcode=index.encoding != ORIGINALS,
    )


def load_samples(shards_dir: Path, subset: Subset) -> Iterator[tuple[Path, Sample]]:
    """(tar, sample) for every stored video of a Subset, in order.

    Raises:
        UserError: shards are missing, or are not those that the Subset was planned with.
    """
    index = load_index(shards_dir, subset.dataset)
    words = str(subset.num_places) if subset.num_places else "all"
    found = find_subset(index, subset.split, words, where=str(shards_dir))
    if found.digest != subset.digest:
        raise UserError(
            f"{shards_dir}/{subset.dataset}: the shards of {subset.title} changed since this run was planned. Plan it again: kdbatch submit"
        )
    folder = shards_dir / subset.dataset
    part = index.parts[DATASETS[subset.dataset].part_of[subset.split]]
    for shard in _first_shards(index, part, subset.num_places or part.num_places):
        record = parse(
            ShardRecord,
            load_json(folder / f"{Path(shard.name).stem}.json"),
            where=f"{folder}/{shard.name}",
        )
        for sample in record.samples:
            if subset.split in sample.splits and (
                not subset.num_places or sample.place < subset.num_places
            ):
                yield folder / shard.name, sample


def _first_shards(index: ShardIndex, part: Part, num_places: int) -> tuple[Shard, ...]:
    """The shards that hold the first `num_places` places of a part."""
    return part.shards[: math.ceil(num_places / index.videos_per_shard)]
