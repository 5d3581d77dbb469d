"""Builds shards: tars of videos, a record of each tar, and `index.json`.

`vocab/shards/index.py` describes these files.
"""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.index import check_rejected, translate_write_errors, write_index, write_rejected
from kdbatch.shard.originals import store_original
from kdbatch.shard.pool import map_parallel
from kdbatch.shard.shard_plan import ShardPlan, plan_shards
from kdbatch.shard.source_video import READ_ERRNOS
from kdbatch.shard.stored import BrokenVideo, EncodedVideo, HostError, StoreFailure, size_and_time
from kdbatch.shard.tars import Entry, write_shard
from kdbatch.shard.transcode import transcode
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import TRANSCODED, Reject, ShardIndex


@dataclass(kw_only=True)
class Throughput:
    """Counts the videos read so far, the bytes of their originals, and their playing time."""

    started: float
    num_videos: int = 0
    num_bytes: int = 0
    seconds: float = 0.0

    def add(self, path: Path, encoded: EncodedVideo) -> None:
        self.num_videos += 1
        self.num_bytes += path.stat().st_size
        self.seconds += encoded.num_frames / encoded.fps

    def __str__(self) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        videos, megabytes = self.num_videos / elapsed, self.num_bytes / elapsed / 1e6
        realtime = self.seconds / elapsed
        return f"{videos:.1f} videos/s, {megabytes:.1f} MB/s, {realtime:.0f} x realtime"


@dataclass(frozen=True, kw_only=True)
class Built:
    """The outcome of a build. `index` is None where shards of other builders are still missing."""

    index: ShardIndex | None
    throughput: Throughput


def build_shards(
    request: ShardRequest, *, root: Path, shards_dir: Path, progress: Progress
) -> ShardIndex:
    """Plan and build all shards that `request` asks for, and return their index.

    Raises:
        UserError: as `plan_shards` and `build_from_plan` do.
    """
    plan = plan_shards(request, root=root, shards_dir=shards_dir)
    index = build_from_plan(plan, progress=progress).index
    assert index is not None, plan.folder
    return index


def build_from_plan(plan: ShardPlan, *, shards: range | None = None, progress: Progress) -> Built:
    """Make the missing ones of `shards` (default: all), and write the index once none is missing.

    Finished shards are kept, so a killed build continues where it was, and a larger subset only
    adds tars. Several builders may work on one folder at the same time: a shard's bytes do not
    depend on its builder.

    Raises:
        UserError: there is no space to write, or more videos are broken than the request allows
            (`rejected.parquet` lists them).
    """
    shards = range(plan.num_shards) if shards is None else shards
    throughput = Throughput(started=time.monotonic())
    try:
        with translate_write_errors(plan, resume=plan.request.command):
            _write_missing(plan, shards, throughput=throughput, progress=progress)
            index = write_index(plan)
    except BrokenProcessPool as error:
        raise UserError(
            f"{plan.folder}: a worker process died (out of memory?). Finished shards are kept. "
            f"Go on with: {replace(plan.request, processes=1).command}"
        ) from error
    return Built(index=index, throughput=throughput)


def _write_missing(
    plan: ShardPlan, shards: range, *, throughput: Throughput, progress: Progress
) -> None:
    """Write those of `shards` that need work; stop as soon as too many videos are broken."""
    finished = {shard: plan.finished_record(shard) for shard in shards}
    rejected = [reject for record in finished.values() if record for reject in record.rejected]
    missing = [shard for shard, record in finished.items() if record is None]
    num_done = sum(len(plan.positions_of(shard)) for shard in shards if finished[shard])
    entries = _entries(plan, missing, num_done=num_done, throughput=throughput, progress=progress)

    def take(num_entries: int) -> Iterator[Entry]:
        for _ in range(num_entries):
            entry = next(entries)
            if isinstance(entry.outcome, Reject):
                rejected.append(entry.outcome)
                check_rejected(plan, rejected)
            yield entry

    try:
        check_rejected(plan, rejected)
        for shard in missing:
            write_shard(
                plan.folder,
                plan.name_of(shard),
                take(len(plan.positions_of(shard))),
                encoding=plan.index.encoding,
            )
    except UserError:
        with contextlib.suppress(OSError, UserError):  # the first error is the one to report
            write_rejected(plan, rejected)
        raise
    finally:
        entries.close()


def _entries(
    plan: ShardPlan,
    shards: Sequence[int],
    *,
    num_done: int,
    throughput: Throughput,
    progress: Progress,
) -> Generator[Entry, None, None]:
    """The videos of `shards` in order, as one stream, so that no worker idles at a shard's end."""
    positions = [position for shard in shards for position in plan.positions_of(shard)]
    total = num_done + len(positions)
    store = transcode if plan.index.encoding == TRANSCODED else store_original
    outcomes = map_parallel(
        partial(_store, store),
        [plan.order[position].path for position in positions],
        processes=plan.request.processes,
    )
    try:
        for num_stored, (position, outcome) in enumerate(zip(positions, outcomes, strict=True), 1):
            video, path = plan.order[position], plan.relative_path(position)
            if isinstance(outcome, EncodedVideo):
                throughput.add(video.path, outcome)
            else:
                outcome = Reject(key=video.key, place=position, path=path, **vars(outcome))
            progress(num_done + num_stored, total, video.key)
            yield Entry(
                video=video,
                position=position,
                path=path,
                class_name=plan.index.class_of(video.label),
                outcome=outcome,
            )
    finally:
        outcomes.close()


def _store(encode: Callable[[Path], EncodedVideo], path: Path) -> EncodedVideo | StoreFailure:
    """Encode one video, in a worker process; return the reason where it is broken."""
    num_bytes, mtime_ns = size_and_time(path)
    try:
        return encode(path)
    except BrokenVideo as error:
        return StoreFailure(reason=str(error), num_bytes=num_bytes, mtime_ns=mtime_ns)
    except OSError as error:
        if error.errno not in READ_ERRNOS:
            raise
        raise HostError(error.errno, f"cannot be read ({error.strerror})", str(path)) from None
