"""`kdbatch shard`: videos become tars, a record beside each tar, and `index.json` (vocab/shards.py
says what lies where).
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.index import check_rejected, translate_write_errors, write_index, write_rejected
from kdbatch.shard.originals import store_original
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.shard_plan import TRANSCODED, ShardPlan, plan_shards
from kdbatch.shard.source_video import READ_ERRNOS
from kdbatch.shard.stored import BrokenVideo, EncodedVideo, HostError, StoreFailure, size_and_time
from kdbatch.shard.tars import Entry, write_shard
from kdbatch.shard.transcode import transcode as encode
from kdbatch.vocab.shards import Reject, ShardIndex


@dataclass(kw_only=True)
class Throughput:
    """What was read so far: videos, the bytes of their originals, and how long they play."""

    began: float
    num_videos: int = 0
    num_bytes: int = 0
    seconds: float = 0.0

    def add(self, path: Path, stored: EncodedVideo) -> None:
        self.num_videos += 1
        self.num_bytes += path.stat().st_size
        self.seconds += stored.num_frames / stored.fps

    def __str__(self) -> str:
        spent = max(time.monotonic() - self.began, 1e-9)
        return f"{self.num_videos / spent:.1f} videos/s, {self.num_bytes / spent / 1e6:.1f} MB/s, {self.seconds / spent:.0f} x realtime"


@dataclass(frozen=True, kw_only=True)
class Built:
    """How a build ended. `index` is None where shards of other builders are still missing."""

    index: ShardIndex | None
    throughput: Throughput


def build_shards(
    dataset: str,
    *,
    root: Path,
    shards_dir: Path,
    part: str = "",
    subset: str = "all",
    videos_per_shard: int = 250,
    max_rejected: float = 0.01,
    transcode: bool = True,
    processes: int = 2,
    progress: Progress,
) -> ShardIndex:
    """Store the first `subset` videos of a part (rounded up to whole shards) and list them in
    `index.json`.

    Shards that are finished are kept, so a killed build goes on where it was, and a larger subset
    only adds tars.

    Raises:
        UserError: a layout that is not the published one, more videos asked for than there are,
        shards made in another way, no room to
            write, or more than `max_rejected` of the videos broken (`rejected.parquet` lists them).
    """
    job = plan_shards(
        dataset,
        root=root,
        shards_dir=shards_dir,
        part=part,
        subset=subset,
        videos_per_shard=videos_per_shard,
        max_rejected=max_rejected,
        transcode=transcode,
    )
    index = build_from_plan(job, processes=processes, progress=progress).index
    assert index is not None, job.folder
    return index


def build_from_plan(
    plan: ShardPlan, *, shards: range | None = None, processes: int, progress: Progress
) -> Built:
    """Make those of `shards` (all of the job's, if not said) that are missing; then write the
    index, if none is missing any more.

    Several builders may work on one folder at the same time: shards do not depend on who makes
    them.

    Raises:
        UserError: no room to write, or too many broken videos.
    """
    shards = range(plan.num_shards) if shards is None else shards
    throughput = Throughput(began=time.monotonic())
    try:
        with translate_write_errors(plan, again=plan.request.command):
            _write_missing(
                plan, shards, throughput=throughput, processes=processes, progress=progress
            )
            index = write_index(plan)
    except BrokenProcessPool as error:
        raise UserError(
            f"{plan.folder}: a process that transcodes died (out of memory?). Finished shards are kept. "
            f"Go on with: {plan.request.command} --processes 1"
        ) from error
    return Built(index=index, throughput=throughput)


def _write_missing(
    plan: ShardPlan, shards: range, *, throughput: Throughput, processes: int, progress: Progress
) -> None:
    found = {shard: plan.finished_record(shard) for shard in shards}
    rejected = [reject for record in found.values() if record for reject in record.rejected]
    missing = [shard for shard, record in found.items() if record is None]
    done = sum(len(plan.positions_of(shard)) for shard in shards) - sum(
        len(plan.positions_of(shard)) for shard in missing
    )
    entries = _entries(
        plan, missing, done=done, throughput=throughput, processes=processes, progress=progress
    )

    def counted(num_entries: int) -> Iterator[Entry]:
        for _ in range(num_entries):
            entry = next(entries)
            if isinstance(entry.stored, Reject):
                rejected.append(entry.stored)
                check_rejected(plan, rejected)
            yield entry

    try:
        check_rejected(plan, rejected)
        for shard in missing:
            write_shard(
                plan.folder,
                plan.name_of(shard),
                counted(len(plan.positions_of(shard))),
                encoding=plan.index.encoding,
            )
    except UserError:
        with contextlib.suppress(OSError, UserError):  # the first trouble is the one to tell
            write_rejected(plan, rejected)
        raise
    finally:
        entries.close()


def _entries(
    plan: ShardPlan,
    shards: Sequence[int],
    *,
    done: int,
    throughput: Throughput,
    processes: int,
    progress: Progress,
) -> Generator[Entry, None, None]:
    """Every video of `shards`, in order: one stream over all shards, so that no process waits at a
    shard's end.
    """
    places = [place for shard in shards for place in plan.positions_of(shard)]
    total = done + len(places)
    store = encode if plan.index.encoding == TRANSCODED else store_original
    results = map_parallel(
        partial(_stored, store), [plan.order[place].path for place in places], processes=processes
    )
    try:
        for place, stored in zip(places, results, strict=True):
            source, path = plan.order[place], plan.relative_path(place)
            if isinstance(stored, EncodedVideo):
                throughput.add(source.path, stored)
            else:
                stored = Reject(key=source.key, place=place, path=path, **vars(stored))
            done += 1
            progress(done, total, f"{throughput}, {source.key}")
            yield Entry(
                source=source,
                position=place,
                path=path,
                class_name=plan.index.classes[source.label],
                stored=stored,
            )
    finally:
        results.close()


def _stored(store: Callable[[Path], EncodedVideo], path: Path) -> EncodedVideo | StoreFailure:
    """Runs in the worker processes: the stored video, or why there is none."""
    num_bytes, mtime_ns = size_and_time(path)
    try:
        return store(path)
    except BrokenVideo as error:
        return StoreFailure(reason=str(error), num_bytes=num_bytes, mtime_ns=mtime_ns)
    except OSError as error:
        if error.errno not in READ_ERRNOS:
            raise
        raise HostError(error.errno, f"cannot be read ({error.strerror})", str(path)) from None
