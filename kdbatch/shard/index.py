"""Writes `index.json` and `rejected.parquet` from the records of the shards.

Both files are functions of the records alone, so builders that finish together write equal bytes.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.atomic_write import atomic_write, remove_abandoned_parts, write_json
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.reading.local_name import local_name
from kdbatch.shard.shard_plan import ShardPlan, encoding_mismatch
from kdbatch.shard.stored import HostError
from kdbatch.shard.tars import record_path
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shards.index import (
    Part,
    Reject,
    Shard,
    ShardIndex,
    ShardRecord,
    load_index,
    rate_text,
)

_REJECTED = pa.schema(
    [
        ("part", pa.string()),
        ("key", pa.string()),
        ("place", pa.int64()),
        ("path", pa.string()),
        ("reason", pa.string()),
    ]
)
_ROWS_SHA256 = b"kdbatch_sha256"  # key of the file's metadata


@contextlib.contextmanager
def translate_write_errors(plan: ShardPlan, *, resume: str) -> Iterator[None]:
    """Turn the errors of writing shards or their index into one line with the command `resume`.

    Raises:
        UserError: no space, no permission to write, or a file server that does not answer.
    """
    try:
        yield
    except HostError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}. Finished shards are kept. "
            f"Fix that, then go on with: {resume}"
        ) from error
    except OSError as error:
        reason = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        raise UserError(
            f"{plan.folder}: shards cannot be written ({reason}). Finished ones are kept. "
            f"Fix that, then go on with: {resume}"
        ) from error


def write_index(plan: ShardPlan) -> ShardIndex | None:
    """Write the index with this part replaced; if shards are missing, write nothing, return None.

    Raises:
        UserError: another part was written since, with another encoding.
        TooManyRejected: more videos are broken than are allowed.
    """
    records = [plan.checked_record(shard) for shard in range(plan.num_shards)]
    complete = [record for record in records if record is not None]
    if len(complete) < len(records):
        return None
    rejected = [reject for record in complete for reject in record.rejected]
    with _index_lock(plan.folder):
        write_rejected(plan, rejected)
        check_rejected(plan, rejected)
        parts = {**_current_parts(plan), plan.part: _part(plan, complete)}
        in_order = {p: parts[p] for p in plan.known.parts if p in parts}
        listed = {} if plan.dataset in DATASETS else plan.known.num_videos
        index = dataclasses.replace(plan.index, parts=in_order, num_listed=listed)
        write_json(plan.folder / "index.json", dataclasses.asdict(index))
        remove_abandoned_parts(plan.folder, f"{plan.part}-*")
    return index


def _current_parts(plan: ShardPlan) -> dict[str, Part]:
    """The parts in `index.json` now: others may have been added since the plan was made."""
    if not is_present(plan.folder / "index.json"):
        return plan.index.parts
    current = load_index(plan.folder.parent, plan.dataset)
    if current.encoding != plan.index.encoding:
        raise encoding_mismatch(
            plan.folder,
            found=current.encoding,
            wanted=plan.index.encoding,
            advice=plan.remake_advice,
        )
    return current.parts


class TooManyRejected(UserError):
    """More videos are broken than are allowed; `first` is one of them."""

    def __init__(self, message: str, first: Reject) -> None:
        super().__init__(message)
        self.first = first


def check_rejected(plan: ShardPlan, rejected: Sequence[Reject]) -> None:
    """Check the number of broken videos.

    Raises:
        TooManyRejected: it is above the share that the request allows.
    """
    if len(rejected) > plan.max_rejected * plan.num_positions:
        first = rejected[0]
        raise TooManyRejected(
            f"{plan.root}: {len(rejected)} of {plan.num_positions} videos are broken, "
            f"more than {plan.max_rejected:.2%}. The first: {first.path}: {first.reason}. "
            f"All found so far: {plan.folder}/rejected.parquet. "
            "Repair them and repeat the command, or raise --max-rejected.",
            first,
        )


def write_rejected(plan: ShardPlan, rejected: Sequence[Reject]) -> None:
    """Write `rejected.parquet`: the broken videos of every part, without rows if there is none."""
    path = plan.folder / "rejected.parquet"
    rows = [{"part": plan.part, **dataclasses.asdict(reject)} for reject in rejected]
    if is_present(path):
        rows += [row for row in _load_rejected_rows(path) if row["part"] != plan.part]
    rows.sort(key=lambda row: (row["part"], row["place"]))
    schema = _REJECTED.with_metadata({_ROWS_SHA256: _rows_sha256(rows)})
    table = pa.Table.from_pylist(rows, schema=schema)
    atomic_write(path, lambda part: pq.write_table(table, local_name(part)))


def _load_rejected_rows(path: Path) -> list[dict[str, object]]:
    """The rows, compared with their sha256 unless a version before 0.3 wrote them."""
    try:
        table = pq.read_table(local_name(path))
        rows = table.cast(_REJECTED).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    else:
        metadata = table.schema.metadata or {}
        if metadata.get(_ROWS_SHA256, _rows_sha256(rows)) == _rows_sha256(rows):
            return rows
        reason = "its rows are not those that were written"
    raise UserError(f"{path}: is damaged ({reason}). Delete it and repeat the command.")


def _rows_sha256(rows: Sequence[dict[str, object]]) -> bytes:
    fields = [[str(row[name]) for name in _REJECTED.names] for row in rows]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest().encode()


@contextlib.contextmanager
def _index_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of the index: the arrays of two parts may finish at the same moment.

    On a file system without locks nothing is held. Two parts that finish in the same second may
    then need the command once more.
    """
    with (folder / "index.lock").open("ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _part(plan: ShardPlan, records: Sequence[ShardRecord]) -> Part:
    counts = Counter(split for video in plan.order for split in video.splits)
    part_of = plan.known.part_of
    return Part(
        num_in_source=len(plan.order),
        num_places=plan.num_positions,
        num_in_split={split: counts[split] for split in part_of if part_of[split] == plan.part},
        shards=tuple(_index_entry(plan.folder, record) for record in records),
    )


def _index_entry(folder: Path, record: ShardRecord) -> Shard:
    """The entry of one shard in the index; `fps` is the mean over its videos."""
    samples = record.samples
    return Shard(
        name=record.name,
        num_videos=len(samples),
        num_rejected=len(record.rejected),
        num_frames=sum(sample.num_frames for sample in samples),
        num_bytes=record.num_bytes,
        sha256=record.sha256,
        fps=sum(sample.fps for sample in samples) / max(1, len(samples)),
        lengths_seconds=_deciles(sorted(sample.num_frames / sample.fps for sample in samples)),
        record_sha256=sha256_of(record_path(folder / record.name)),
        rates=dict(Counter(rate_text(fps) for fps in sorted(sample.fps for sample in samples))),
    )


def _deciles(sorted_values: Sequence[float]) -> tuple[float, ...]:
    """Eleven of the values, from the smallest to the largest; none of an empty list."""
    if not sorted_values:
        return ()
    last = len(sorted_values) - 1
    return tuple(sorted_values[round(tenth * last / 10)] for tenth in range(11))
