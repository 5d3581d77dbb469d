"""What is to be sharded, as a value: one part of a data set, listed and ordered, and where its
shards go. Nothing is written here.

No PyAV here: a login node plans the elements of a SLURM array without it.
"""

import itertools
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.shard.datasets import READERS
from kdbatch.shard.order import balanced_order
from kdbatch.shard.sources import ListedVideo, printable
from kdbatch.shard.stored import size_and_time
from kdbatch.shard.tars import load_record
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards import (
    ORIGINALS,
    Reject,
    ShardIndex,
    ShardRecord,
    load_index,
    parse_video_count,
)

TRANSCODED = "h264 short128 g16 b1 crf22.5 v2"
# decord 0.6.0 seeks by time stamps, which AVI lacks; of packed B-frames it returns others than
# asked for, and clips that jump back.
NEVER_ORIGINALS = {
    "hmdb51": "its AVIs hold packed B-frames, and a reader that seeks in them gets other frames than it asked for"
}


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One part of a data set and its wanted shards. `index` is what `index.json` says already."""

    request: ShardRequest
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
        return _remake_advice(self.folder, self.request)

    def name_of(self, shard: int) -> str:
        return f"{self.part}-{shard:05d}.tar"

    def positions_of(self, shard: int) -> range:
        start = shard * self.videos_per_shard
        return range(start, min(start + self.videos_per_shard, len(self.order)))

    def relative_path(self, place: int) -> str:
        """A video's path below the data set's root, as text."""
        return printable(self.order[place].path.relative_to(self.root).as_posix())

    def finished_record(self, shard: int) -> ShardRecord | None:
        """The shard's record where there is nothing to do: it is whole, and none of its rejected
        videos has been mended since.

        Raises:
            UserError: as for `held`.
        """
        record = self.checked_record(shard)
        return record if record and not any(map(self._is_changed, record.rejected)) else None

    def _is_changed(self, reject: Reject) -> bool:
        found = size_and_time(self.order[reject.place].path)
        return reject.num_bytes is not None and (reject.num_bytes, reject.mtime_ns) != found

    def checked_record(self, shard: int) -> ShardRecord | None:
        """The record of a shard that is whole.

        Raises:
            UserError: it was stored in another way than is asked for, or holds other videos than
            belong there today, or with other labels,
                splits or groups.
        """
        record = load_record(self.folder, self.name_of(shard))
        if record is None:
            return None
        if (
            record.encoding and record.encoding != self.index.encoding
        ):  # no index has been written yet that would tell
            raise encoding_mismatch(
                self.folder,
                found=record.encoding,
                wanted=self.index.encoding,
                anew=self.remake_advice,
            )
        held = {(video.place, video.key) for video in (*record.samples, *record.rejected)}
        if held != {(place, self.order[place].key) for place in self.positions_of(shard)}:
            raise UserError(
                f"{self.folder}/{record.name}: holds other videos than {self.root} has at its places today: videos were added or removed, "
                f"labels were changed, or it was begun with another number of videos per shard. {self.remake_advice}"
            )
        for sample in record.samples:
            source = self.order[sample.place]
            if (sample.label, sample.splits, sample.group) != (
                source.label,
                source.splits,
                source.group,
            ):
                raise UserError(
                    f"{self.folder}/{record.name}: the lists in {self.root} changed since: {sample.key} was stored with another label, "
                    f"other splits or another group than they give it today. {self.remake_advice}"
                )
        return record

    def missing_shards(self) -> tuple[int, ...]:
        """The shards that are still to be made."""
        return tuple(
            shard for shard in range(self.num_shards) if self.finished_record(shard) is None
        )


def plan_shards(
    dataset: str,
    *,
    root: Path,
    shards_dir: Path,
    part: str = "",
    subset: str = "all",
    videos_per_shard: int = 250,
    max_rejected: float = 0.01,
    transcode: bool = True,
) -> ShardPlan:
    """List a part, put it in order, and see what its folder holds already.

    Raises:
        UserError: a layout that is not the published one, more videos asked for than there are, or
        shards made in another way.
    """
    part = _checked_part(dataset, part)
    if not 0 <= max_rejected <= 1:
        raise UserError(
            f"{dataset}: --max-rejected: found {max_rejected}. Write a share from 0 to 1, as in --max-rejected=0.05."
        )
    if not transcode and dataset in NEVER_ORIGINALS:
        raise UserError(
            f"{dataset}: --no-transcode is not possible: {NEVER_ORIGINALS[dataset]}. Leave --no-transcode out."
        )
    try:
        listing = READERS[dataset](root, part)
    except OSError as error:
        raise UserError(
            f"{root}: cannot be listed ({error.strerror}: {error.filename})."
        ) from error
    _check_names(root, listing.classes)
    request = ShardRequest(
        dataset=dataset,
        split=DATASETS[dataset].first_split_of(part),
        subset=subset,
        videos_per_shard=videos_per_shard,
        max_rejected=max_rejected,
        transcode=transcode,
        root=str(root.absolute()),
    )
    index = _index_to_extend(shards_dir, request, classes=listing.classes)
    order = balanced_order(listing.videos)
    earlier = index.parts[part].num_places if part in index.parts else 0
    wanted = max(
        parse_video_count(subset, len(order), where=f"{dataset}/{part}"), min(earlier, len(order))
    )
    return ShardPlan(
        request=request,
        part=part,
        root=root,
        folder=shards_dir / dataset,
        order=order,
        notes=listing.notes,
        num_positions=min(math.ceil(wanted / videos_per_shard) * videos_per_shard, len(order)),
        index=index,
    )


def split_into_ranges(shards: Sequence[int], num_groups: int) -> tuple[range, ...]:
    """Ranges that do not overlap and hold all of `shards`, about equally many of them in each: the
    elements of an array.
    """
    edges = [len(shards) * i // num_groups for i in range(num_groups + 1)]
    return tuple(range(shards[a], shards[b - 1] + 1) for a, b in itertools.pairwise(edges) if a < b)


def parse_shard_range(words: str, num_shards: int) -> range:
    """The shards that `40:80` names: 40 to 79.

    Raises:
        UserError: not such words, or shards that there are not.
    """
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", words, re.ASCII)
    if not found or not int(found[1]) < int(found[2]) <= num_shards:
        raise UserError(
            f"--shards: found {words!r}. Write FIRST:END, at most 0:{num_shards}; END itself is not made."
        )
    return range(int(found[1]), int(found[2]))


def _checked_part(dataset: str, part: str) -> str:
    """The part asked for, or the data set's first."""
    known = lookup(DATASETS, dataset, where="dataset").parts
    if part and part not in known:
        raise UserError(f"{dataset}: has no part {part!r}. Parts: {', '.join(known)}.")
    return part or known[0]


def encoding_mismatch(folder: Path, *, found: str, wanted: str, anew: str) -> UserError:
    return UserError(
        f"{folder}: its shards are stored as {found!r}, {wanted!r} was asked for. {anew}"
    )


def _check_names(root: Path, classes: Sequence[str]) -> None:
    """The index holds the classes' names as text, and it is written last."""
    for name in classes:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{root}: the name of the class {name!a} is no UTF-8. Rename it there."
            ) from error


def _index_to_extend(
    shards_dir: Path, request: ShardRequest, *, classes: tuple[str, ...]
) -> ShardIndex:
    """The index that is there, if its shards were made in the same way, or an empty one."""
    if request.videos_per_shard < 1:
        raise UserError(
            f"{request.dataset}: {request.videos_per_shard} videos per shard asked for. Write 1 or more; 250 is usual."
        )
    folder = shards_dir / request.dataset
    encoding = TRANSCODED if request.transcode else ORIGINALS
    if not (folder / "index.json").exists():
        return ShardIndex(
            dataset=request.dataset,
            classes=classes,
            videos_per_shard=request.videos_per_shard,
            encoding=encoding,
            parts={},
        )
    old = load_index(shards_dir, request.dataset)
    anew = _remake_advice(folder, request)
    if old.encoding != encoding:
        raise encoding_mismatch(folder, found=old.encoding, wanted=encoding, anew=anew)
    if old.videos_per_shard != request.videos_per_shard:
        raise UserError(
            f"{folder}: its shards hold {old.videos_per_shard} videos each, {request.videos_per_shard} were asked for. "
            f"Go on as it is: {replace(request, videos_per_shard=old.videos_per_shard).command}"
        )
    if old.classes != classes:
        raise UserError(
            f"{folder}: the data set's classes changed since ({len(old.classes)} then, {len(classes)} now). {anew}"
        )
    return old


def _remake_advice(folder: Path, request: ShardRequest) -> str:
    """What helps where the shards that are there do not fit."""
    return f"Make all anew: {shlex.join(['rm', '-r', str(folder)])} && {request.command}"
