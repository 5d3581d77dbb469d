"""`kdbatch shard`: videos become tars, a record beside each tar, and `index.json` (vocab/shards.py says what lies where)."""

import dataclasses
import math
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.shard.datasets import READERS, Source
from kdbatch.shard.order import balanced_order
from kdbatch.shard.pool import spread
from kdbatch.shard.tars import Entry, finished_shard, publish_shard
from kdbatch.shard.transcode import ENCODING, BrokenVideo, Stored, transcode
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.pick import pick
from kdbatch.vocab.progress import Progress
from kdbatch.vocab.publish import publish, publish_json
from kdbatch.vocab.shards import Part, Reject, Shard, ShardIndex, ShardRecord, count_from_words, load_index


@dataclass(frozen=True, kw_only=True)
class Job:
    """One part of a data set, listed and ordered, and where its shards go. `num_shards` of them are wanted."""

    dataset: str
    part: str
    root: Path
    folder: Path
    classes: tuple[str, ...]
    order: Sequence[Source]
    videos_per_shard: int
    num_shards: int

    def name_of(self, shard: int) -> str:
        return f"{self.part}-{shard:05d}.tar"

    def places_of(self, shard: int) -> range:
        start = shard * self.videos_per_shard
        return range(start, min(start + self.videos_per_shard, len(self.order)))

    @property
    def num_places(self) -> int:
        return min(self.num_shards * self.videos_per_shard, len(self.order))


def build_shards(
    dataset: str,
    *,
    root: Path,
    shards_dir: Path,
    part: str = "",
    subset: str = "all",
    videos_per_shard: int = 250,
    max_rejected: float = 0.01,
    processes: int = 2,
    progress: Progress,
) -> ShardIndex:
    """Store the first `subset` videos of a part (rounded up to whole shards) and list them in `index.json`.

    Shards that are finished are kept, so a killed build goes on where it was, and a larger subset only adds tars.

    Raises:
        UserError: a layout that is not the published one, more videos asked for than there are, shards made in another way, or more
            than `max_rejected` of the videos broken (`rejected.parquet` lists them).
    """
    part = _checked_part(dataset, part)
    listing = READERS[dataset](root, part)
    index = _index_to_extend(shards_dir, dataset, classes=listing.classes, videos_per_shard=videos_per_shard)
    order = balanced_order(listing.sources)
    earlier = index.parts[part].num_places if part in index.parts else 0
    num_places = max(count_from_words(subset, len(order), where=f"{dataset}/{part}"), min(earlier, len(order)))
    job = Job(
        dataset=dataset,
        part=part,
        root=root,
        folder=shards_dir / dataset,
        classes=listing.classes,
        order=order,
        videos_per_shard=videos_per_shard,
        num_shards=math.ceil(num_places / videos_per_shard),
    )
    records = _build(job, max_rejected=max_rejected, processes=processes, progress=progress)
    return _publish_index(job, index, records)


def _checked_part(dataset: str, part: str) -> str:
    """The part asked for, or the data set's first."""
    known = pick(DATASETS, dataset, where="dataset").parts
    if part and part not in known:
        raise UserError(f"{dataset}: has no part {part!r}. Parts: {', '.join(known)}.")
    return part or known[0]


def _index_to_extend(shards_dir: Path, dataset: str, *, classes: tuple[str, ...], videos_per_shard: int) -> ShardIndex:
    """The index that is there, if its shards were made in the same way, or an empty one."""
    if videos_per_shard < 1:
        raise UserError(f"{dataset}: {videos_per_shard} videos per shard asked for. Write 1 or more; 250 is usual.")
    folder = shards_dir / dataset
    if not (folder / "index.json").exists():
        return ShardIndex(dataset=dataset, classes=classes, videos_per_shard=videos_per_shard, encoding=ENCODING, parts={})
    old = load_index(shards_dir, dataset)
    again = f"Make all anew: rm -r {folder} && kdbatch shard {dataset}"
    if old.encoding != ENCODING:
        raise UserError(f"{folder}: its shards are encoded as {old.encoding!r}, this version writes {ENCODING!r}. {again}")
    if old.videos_per_shard != videos_per_shard:
        raise UserError(
            f"{folder}: its shards hold {old.videos_per_shard} videos each, {videos_per_shard} were asked for. "
            f"Go on as it is: kdbatch shard {dataset} --videos-per-shard {old.videos_per_shard}"
        )
    if old.classes != classes:
        raise UserError(f"{folder}: the data set's classes changed since ({len(old.classes)} then, {len(classes)} now). {again}")
    return old


def _build(job: Job, *, max_rejected: float, processes: int, progress: Progress) -> list[ShardRecord]:
    """The records of all wanted shards, in order; those that are not finished are written."""
    records = {shard: record for shard in range(job.num_shards) if (record := _finished(job, shard))}
    rejected = [reject for record in records.values() for reject in record.rejected]
    missing = [shard for shard in range(job.num_shards) if shard not in records]
    entries = _transcoded(job, missing, processes=processes, progress=progress)

    def counted(num_entries: int) -> Iterator[Entry]:
        for _ in range(num_entries):
            entry = next(entries)
            if isinstance(entry.stored, str):
                rejected.append(Reject(key=entry.source.key, place=entry.place, path=entry.path, reason=entry.stored))
                _check_rejected(job, rejected, max_rejected=max_rejected)
            yield entry

    try:
        _check_rejected(job, rejected, max_rejected=max_rejected)
        for shard in missing:
            records[shard] = publish_shard(job.folder, job.name_of(shard), counted(len(job.places_of(shard))))
    except BrokenProcessPool as error:
        raise UserError(
            f"{job.folder}: a process that transcodes died (out of memory?). Finished shards are kept. "
            f"Go on with: kdbatch shard {job.dataset} --processes 1"
        ) from error
    finally:
        entries.close()
        _publish_rejected(job, rejected)
    return [records[shard] for shard in range(job.num_shards)]


def _finished(job: Job, shard: int) -> ShardRecord | None:
    """The shard's record where it is finished. It must hold the videos that belong there today."""
    record = finished_shard(job.folder, job.name_of(shard))
    if record is None:
        return None
    held = {(video.place, video.key) for video in (*record.samples, *record.rejected)}
    if held != {(place, job.order[place].key) for place in job.places_of(shard)}:
        raise UserError(
            f"{job.folder}/{record.name}: holds other videos than {job.root} has at its places today: videos were added or removed, or "
            f"it was begun with another number of videos per shard. Make all anew: rm -r {job.folder} && kdbatch shard {job.dataset}"
        )
    return record


def _transcoded(job: Job, shards: Sequence[int], *, processes: int, progress: Progress) -> Generator[Entry, None, None]:
    """Every video of `shards`, in order: one stream over all shards, so that no process waits at a shard's end."""
    places = [place for shard in shards for place in job.places_of(shard)]
    results = spread(_store, [job.order[place].path for place in places], processes=processes)
    done = job.num_places - len(places)
    try:
        for place, stored in zip(places, results, strict=True):
            source = job.order[place]
            done += 1
            progress(done, job.num_places, source.key)
            # A file name may hold bytes that are no text; records and tables hold text.
            path = source.path.relative_to(job.root).as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            yield Entry(source=source, place=place, path=path, class_name=job.classes[source.label], stored=stored)
    finally:
        results.close()


def _store(path: Path) -> Stored | str:
    """Runs in the worker processes: the stored video, or why there is none."""
    try:
        return transcode(path)
    except BrokenVideo as error:
        return str(error)


def _check_rejected(job: Job, rejected: Sequence[Reject], *, max_rejected: float) -> None:
    if len(rejected) > max_rejected * job.num_places:
        first = rejected[0]
        raise UserError(
            f"{job.root}: {len(rejected)} of {job.num_places} videos are broken, more than {max_rejected:.2%}. The first: {first.path}: "
            f"{first.reason}. All found so far: {job.folder}/rejected.parquet. Mend them, or raise --max-rejected."
        )


def _publish_rejected(job: Job, rejected: Sequence[Reject]) -> None:
    """`rejected.parquet`: the broken videos of every part, empty where none is broken."""
    path = job.folder / "rejected.parquet"
    rows = [{"part": job.part, **dataclasses.asdict(reject)} for reject in rejected]
    if path.exists():
        rows += [row for row in pq.read_table(path).to_pylist() if row["part"] != job.part]
    rows.sort(key=lambda row: (row["part"], row["place"]))
    table = pa.Table.from_pylist(rows, schema=_REJECTED)
    publish(path, lambda part: pq.write_table(table, part))


_REJECTED = pa.schema([("part", pa.string()), ("key", pa.string()), ("place", pa.int64()), ("path", pa.string()), ("reason", pa.string())])


def _publish_index(job: Job, index: ShardIndex, records: Sequence[ShardRecord]) -> ShardIndex:
    """The index with this part anew and the other parts as they were."""
    index = dataclasses.replace(index, parts={**index.parts, job.part: _part(job, records)})
    publish_json(job.folder / "index.json", dataclasses.asdict(index))
    return index


def _part(job: Job, records: Sequence[ShardRecord]) -> Part:
    splits = Counter(split for source in job.order for split in source.splits)
    return Part(
        num_in_source=len(job.order),
        num_places=job.num_places,
        num_in_split={split: splits[split] for split, part in DATASETS[job.dataset].part_of.items() if part == job.part},
        shards=tuple(_line(record) for record in records),
    )


def _line(record: ShardRecord) -> Shard:
    """A shard's line of the index; `fps` is the mean over its videos."""
    samples = record.samples
    return Shard(
        name=record.name,
        num_videos=len(samples),
        num_rejected=len(record.rejected),
        num_frames=sum(sample.num_frames for sample in samples),
        num_bytes=record.num_bytes,
        sha256=record.sha256,
        fps=sum(sample.fps for sample in samples) / max(1, len(samples)),
    )
