"""The files of `shards/<dataset>/`: tars, a record of each tar, and `index.json`.

    train-00000.tar    KEY.mp4, KEY.idx, KEY.json per video, in prefix order;
                       originals: KEY.<suffix>, KEY.json
    train-00000.json   ShardRecord: one Sample per stored video, one Reject per broken one;
                       written after its tar
    index.json         ShardIndex, the file that other rooms read; written last

Shard i of a part holds the videos at positions [i*n, (i+1)*n) of the part's order, n =
videos_per_shard. A shard therefore never changes when a larger subset is requested, and the first N
positions are the subset of size N. Fields named `place` are such positions, and `num_places` is a
number of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from kdbatch.base.atomic_write import load_json
from kdbatch.base.command_lines import shard_command, verify_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present, paths_below
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import ByteCount, Count, Limits, SameAs
from kdbatch.base.reading.file_names import check_plain_name
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest

ORIGINALS = "originals v1"
"""`ShardIndex.encoding` of videos that are stored without transcoding."""
TRANSCODED = "h264 short128 g16 b13/16 crf22.25 v3"
"""`ShardIndex.encoding` of transcoded videos; other text is that of older versions."""

FrameRate = Annotated[float, Limits("frames/s", least=0, most=1_000_000)]
Pixels = Annotated[int, Limits("pixels", least=0, most=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One stored video. Offsets and sizes are bytes inside the tar.

    `place` is its position in the part's order, in which rejected videos count too.
    """

    key: str
    place: Count
    label: Count
    splits: tuple[str, ...]
    group: str
    num_frames: Count
    fps: FrameRate
    source_fps: FrameRate
    width: Pixels
    height: Pixels
    offset: ByteCount
    num_bytes: ByteCount
    index_offset: ByteCount
    index_bytes: ByteCount
    crc32: Annotated[int, Limits("checksum", least=0, most=2**32 - 1)]
    # H.264 decoder configuration (avcC), hex; empty for an original, which has no packet index
    # either
    extradata: str
    container: str = "mp4"  # suffix of the member that holds the video


@dataclass(frozen=True, kw_only=True)
class Reject:
    """A video that could not be stored, and the reason.

    It is tried again when its file has another size or modification time. Both are 0 if there was
    no file, and None in records of older versions, which did not keep them.
    """

    key: str
    place: Count
    path: str
    reason: str
    num_bytes: ByteCount | None = None
    mtime_ns: Annotated[int, Limits("ns", least=-(10**20), most=10**20)] | None = None


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """The content of one tar. `encoding` is empty in records of older versions."""

    name: str
    num_bytes: ByteCount
    sha256: str
    samples: tuple[Sample, ...]
    rejected: tuple[Reject, ...]
    encoding: str = ""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One tar, as the index lists it.

    `lengths_seconds` are the minimum, the nine deciles and the maximum of its videos' lengths,
    `rates` the numbers of videos by their frames per second in five digits (`rate_text`);
    `record_sha256` is that of its record's file. All are empty in an index of an older version.
    """

    name: str
    num_videos: Count
    num_rejected: Count
    num_frames: Count
    num_bytes: ByteCount
    sha256: str
    fps: FrameRate
    lengths_seconds: tuple[Annotated[float, Limits("seconds", least=0, most=10**9)], ...] = ()
    record_sha256: str = ""
    rates: dict[str, Count] = field(default_factory=dict)

    @property
    def record_name(self) -> str:
        return f"{Path(self.name).stem}.json"

    def __post_init__(self) -> None:
        check_plain_name(self.name, where="name")


@dataclass(frozen=True, kw_only=True)
class Part:
    """All shards of one part: the first `num_places` of the `num_in_source` videos found."""

    num_in_source: Count
    num_places: Count
    num_in_split: dict[str, Count]
    shards: tuple[Shard, ...]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """`index.json`. `classes` are in published order: a label is an index into it.

    `num_listed` has the number of videos of each split that the folder of an own data set listed,
    stored or not; it is empty for a published one.
    """

    dataset: str
    classes: tuple[str, ...]
    videos_per_shard: Annotated[int, SameAs(ShardRequest, "videos_per_shard")]
    encoding: str
    parts: dict[str, Part]
    num_listed: dict[str, Count] = field(default_factory=dict)

    @property
    def part_names(self) -> Mapping[str, str]:
        """The name of the part of each split of the data set, stored or not."""
        known = DATASETS.get(self.dataset)
        return known.part_of if known else {split: split for split in self.num_listed}

    def class_of(self, label: int) -> str:
        """The name of a class; empty where videos have no labels."""
        return self.classes[label] if self.classes else ""

    def part_of(self, split: str) -> Part:
        """The part in which the videos of a split are stored."""
        return self.parts[self.part_names[split]]


def load_index(shards_dir: Path, dataset: str) -> ShardIndex:
    """The index of a sharded data set.

    Raises:
        UserError: the data set has no shards here, or its index is damaged.
    """
    check_plain_name(dataset, where="dataset")
    path = shards_dir / dataset / "index.json"
    if not is_present(path):
        stored = [found.parent.name for found in paths_below(shards_dir, "index.json")]
        near = "" if dataset in DATASETS else did_you_mean(dataset, {*DATASETS, *stored})
        raise UserError(
            f"{dataset} has no shards under {shards_dir}/.{near} "
            f"Make them: {shard_command(dataset)}"
        )
    return parse(ShardIndex, load_json(path), where=str(path))


def is_older(encoding: str) -> bool:
    """Whether shards were transcoded by a version that stored every second frame as a B-frame."""
    return encoding not in (TRANSCODED, ORIGINALS)


def rate_text(fps: float) -> str:
    """`12`, `29.97`, `23.976`: a frame rate in five digits."""
    return f"{fps:.5g}"


def load_indexed_record(folder: Path, shard: Shard) -> ShardRecord:
    """The record of a shard, if it is the one that the index vouches for.

    Raises:
        UserError: it is missing, or was changed or damaged.
    """
    path = folder / shard.record_name
    advice = f"See how to repair it: {verify_command(folder.name)}"
    raw = load_json(path, sha256=shard.record_sha256, advice=advice)
    return parse(ShardRecord, raw, where=str(path))
