"""Plans the shards of one part of a data set: its videos in storage order and its folder.

Planning writes nothing and does not import PyAV, which a login node may lack: the elements of a
SLURM array are planned there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.command_lines import shell_line
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits
from kdbatch.base.reading.video_counts import check_video_count, parse_video_count
from kdbatch.shard.datasets import open_source
from kdbatch.shard.order import balanced_order
from kdbatch.shard.sources import ListedVideo, Listing, name_text, printable
from kdbatch.shard.stored import size_and_time
from kdbatch.shard.tars import load_record
from kdbatch.vocab.datasets import DATASETS, Dataset
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import (
    ORIGINALS,
    TRANSCODED,
    Reject,
    Sample,
    ShardIndex,
    ShardRecord,
    is_older,
    load_index,
)
from kdbatch.vocab.sources.dataset_source import DatasetSource

# decord 0.6.0 seeks by time stamps, which AVI lacks. With packed B-frames it returns other frames
# than those requested, and clips jump back.
_CLASS_NAME = Limits(max_length=200)
NEVER_ORIGINALS = {
    "hmdb51": "its AVIs hold packed B-frames, and a reader that seeks in them gets wrong frames"
}


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One part of a data set and the shards that it should have.

    `request` names its split and its absolute root, `known` is its data set. `order` holds all
    videos of the part in storage order; the first `num_positions` of them are sharded. `index` is
    `index.json` as it was when the plan was made, with no parts where there was none.
    """

    request: ShardRequest
    known: Dataset
    part: str
    root: Path
    folder: Path
    order: Sequence[ListedVideo]
    notes: tuple[str, ...]
    num_positions: int
    index: ShardIndex

    @property
    def dataset(self) -> str:
        return self.request.dataset

    @property
    def max_rejected(self) -> float:
        return self.request.max_rejected

    @property
    def videos_per_shard(self) -> int:
        return self.index.videos_per_shard

    @property
    def num_shards(self) -> int:
        return math.ceil(self.num_positions / self.videos_per_shard)

    @property
    def remake_advice(self) -> str:
        """The end of an error message where the shards in the folder do not fit the plan."""
        return _remake_advice(self.folder, self.request)

    def name_of(self, shard: int) -> str:
        return f"{self.part}-{shard:05d}.tar"

    def positions_of(self, shard: int) -> range:
        """The positions in `order` of the videos that belong into a shard."""
        start = shard * self.videos_per_shard
        return range(start, min(start + self.videos_per_shard, len(self.order)))

    def relative_path(self, position: int) -> str:
        """The path of a video below the data set's root, as printable text."""
        path = self.order[position].path.relative_to(self.root).as_posix()
        return printable(name_text(path))

    def finished_record(self, shard: int) -> ShardRecord | None:
        """The record of a shard that needs no work, else None.

        A shard needs work if it is incomplete, or if the file of a rejected video has changed.

        Raises:
            UserError: as `checked_record` does.
        """
        record = self.checked_record(shard)
        return record if record and not any(map(self._has_changed, record.rejected)) else None

    def _has_changed(self, reject: Reject) -> bool:
        on_disk = size_and_time(self.order[reject.place].path)
        return reject.num_bytes is not None and (reject.num_bytes, reject.mtime_ns) != on_disk

    def checked_record(self, shard: int) -> ShardRecord | None:
        """The record of a complete shard, checked against the plan; None for an incomplete shard.

        Raises:
            UserError: the shard has another encoding, holds other videos than the plan puts there,
                or stores them with other labels, splits or groups.
        """
        record = load_record(self.folder, self.name_of(shard))
        if record is None:
            return None
        # An interrupted build has written records and no index, which has been checked already.
        if record.encoding and record.encoding != self.index.encoding:
            raise encoding_mismatch(
                self.folder,
                found=record.encoding,
                wanted=self.index.encoding,
                advice=self.remake_advice,
            )
        stored = {(video.place, video.key) for video in (*record.samples, *record.rejected)}
        planned = {(position, self.order[position].key) for position in self.positions_of(shard)}
        if stored != planned:
            raise UserError(
                f"{self.folder}/{record.name}: does not hold the videos that {self.root} lists for "
                "it today: videos were added or removed, labels were changed, or the shard was "
                f"made with another number of videos per shard. {self.remake_advice}"
            )
        for sample in record.samples:
            self._check_labels(sample, where=f"{self.folder}/{record.name}")
        return record

    def _check_labels(self, sample: Sample, *, where: str) -> None:
        video = self.order[sample.place]
        stored = (sample.label, sample.splits, sample.group)
        if stored != (video.label, video.splits, video.group):
            raise UserError(
                f"{where}: the lists in {self.root} changed since: {sample.key} was stored with "
                "another label, other splits or another group than they give it today. "
                f"{self.remake_advice}"
            )

    def missing_shards(self) -> tuple[int, ...]:
        """The shards that still need work."""
        shards = range(self.num_shards)
        return tuple(shard for shard in shards if self.finished_record(shard) is None)


def plan_shards(
    request: ShardRequest, *, root: Path, shards_dir: Path, source: DatasetSource | None = None
) -> ShardPlan:
    """List the videos of a part below `root`, order them, and read what `shards_dir` has of them.

    `source` is the data set's entry in kdbatch.toml, which one of the four does not need.

    Raises:
        UserError: an impossible request, a layout that is not the published one, more videos
            requested than exist, or existing shards that were made in another way.
    """
    check_request(request)
    known, part, listing = _list_part(request, source, root)
    request = replace(request, split=known.first_split_of(part), root=str(root.absolute()))
    index = _index_to_extend(shards_dir, request, classes=listing.classes)
    order = balanced_order(listing.videos)
    return ShardPlan(
        request=request,
        known=known,
        part=part,
        root=root,
        folder=shards_dir / request.dataset,
        order=order,
        notes=listing.notes,
        num_positions=_num_positions(request, part, index, num_listed=len(order)),
        index=index,
    )


def check_request(request: ShardRequest) -> None:
    """Raise a UserError if the request asks for what no folder could give."""
    dataset = request.dataset
    if request.split and dataset in DATASETS:
        lookup(DATASETS[dataset].part_of, request.split, where=f"shard {dataset} --split")
    check_video_count(request.subset, where=f"{dataset}: --subset")
    if not request.transcode and dataset in NEVER_ORIGINALS:
        raise UserError(
            f"{dataset}: --no-transcode is not possible: {NEVER_ORIGINALS[dataset]}. "
            "Leave --no-transcode out."
        )


def _list_part(
    request: ShardRequest, source: DatasetSource | None, root: Path
) -> tuple[Dataset, str, Listing]:
    """The data set, the requested part, by default the first, and its videos."""
    try:
        known, list_part = open_source(request.dataset, source, root)
        where = f"shard {request.dataset} --split"
        part = lookup(known.part_of, request.split, where=where) if request.split else ""
        part = part or known.parts[0]
        listing = list_part(part)
    except OSError as error:
        raise UserError(
            f"{root}: cannot be listed ({error.strerror}: {error.filename})."
        ) from error
    # The index holds the names of classes as text, and it is written last.
    for name in listing.classes:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{root}: the name of the class {name!a} is not valid UTF-8. Rename it there."
            ) from error
        _CLASS_NAME.check(name, where=f"{root}: the name of a class")
    return known, part, listing


def _num_positions(request: ShardRequest, part: str, index: ShardIndex, *, num_listed: int) -> int:
    """The number of videos to shard: whole shards, and no fewer than the index has already."""
    where = f"{request.dataset}/{part}"
    requested = parse_video_count(request.subset, num_listed, where=where)
    earlier = index.parts[part].num_places if part in index.parts else 0
    wanted = max(requested, min(earlier, num_listed))
    num_shards = math.ceil(wanted / request.videos_per_shard)
    return min(num_shards * request.videos_per_shard, num_listed)


def encoding_mismatch(folder: Path, *, found: str, wanted: str, advice: str) -> UserError:
    """The error for shards that have another encoding than the request."""
    reads = " Runs can read them, but nothing is added to them." if is_older(found) else ""
    return UserError(
        f"{folder}: its shards are stored as {found!r}, not as {wanted!r}.{reads} {advice}"
    )


def _index_to_extend(
    shards_dir: Path, request: ShardRequest, *, classes: tuple[str, ...]
) -> ShardIndex:
    """The existing index, checked for equal classes, encoding and shard size; else an empty index.

    Raises:
        UserError: the existing index differs in one of these.
    """
    folder = shards_dir / request.dataset
    encoding = TRANSCODED if request.transcode else ORIGINALS
    if not is_present(folder / "index.json"):
        return ShardIndex(
            dataset=request.dataset,
            classes=classes,
            videos_per_shard=request.videos_per_shard,
            encoding=encoding,
            parts={},
        )
    old = load_index(shards_dir, request.dataset)
    advice = _remake_advice(folder, request)
    if old.encoding != encoding:
        raise encoding_mismatch(folder, found=old.encoding, wanted=encoding, advice=advice)
    if old.videos_per_shard != request.videos_per_shard:
        same_size = replace(request, videos_per_shard=old.videos_per_shard)
        raise UserError(
            f"{folder}: its shards hold {old.videos_per_shard} videos each, "
            f"not {request.videos_per_shard}. Continue with the same number: {same_size.command}"
        )
    if old.classes != classes:
        raise UserError(
            f"{folder}: the classes of the data set changed since "
            f"({len(old.classes)} then, {len(classes)} now). {advice}"
        )
    return old


def _remake_advice(folder: Path, request: ShardRequest) -> str:
    remove = shell_line("rm", "-r", folder)
    return f"Make all of its shards again: {remove} && {request.command}"
