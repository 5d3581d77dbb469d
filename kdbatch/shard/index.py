"""`index.json` and `rejected.parquet`, made from the records beside the tars: whoever finishes last
writes the same bytes.
"""

import contextlib
import dataclasses
import fcntl
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.atomic_write import atomic_write, remove_abandoned_parts, write_json
from kdbatch.base.errors import UserError
from kdbatch.shard.shard_plan import ShardPlan, encoding_mismatch
from kdbatch.shard.stored import HostError
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shards import Part, Reject, Shard, ShardIndex, ShardRecord, load_index

_REJECTED = pa.schema(
    [
        ("part", pa.string()),
        ("key", pa.string()),
        ("place", pa.int64()),
        ("path", pa.string()),
        ("reason", pa.string()),
    ]
)


@contextlib.contextmanager
def translate_write_errors(plan: ShardPlan, *, again: str) -> Iterator[None]:
    """Inside, shards or their index are written, and what stops that is told in one line; `again`
    is the command that goes on.

    Raises:
        UserError: no room, no right to write, a file server that does not answer.
    """
    try:
        yield
    except HostError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}. Finished shards are kept. Mend that, then go on with: {again}"
        ) from error
    except OSError as error:
        found = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        raise UserError(
            f"{plan.folder}: shards cannot be written ({found}). Finished ones are kept. Mend that, then go on with: {again}"
        ) from error


def write_index(plan: ShardPlan) -> ShardIndex | None:
    """The index with this part anew and the other parts as they are; None, and nothing written,
    while shards are missing.

    Raises:
        UserError: another part was stored in another way meanwhile.
        TooManyRejected: more videos are broken than are allowed.
    """
    found = [plan.checked_record(shard) for shard in range(plan.num_shards)]
    records = [record for record in found if record is not None]
    if len(records) < len(found):
        return None
    rejected = [reject for record in records for reject in record.rejected]
    with _index_lock(plan.folder):
        write_rejected(plan, rejected)
        check_rejected(plan, rejected)
        index = plan.index
        if (plan.folder / "index.json").exists():  # another part may have been added meanwhile
            there = load_index(plan.folder.parent, plan.dataset)
            if there.encoding != index.encoding:
                raise encoding_mismatch(
                    plan.folder,
                    found=there.encoding,
                    wanted=index.encoding,
                    anew=plan.remake_advice,
                )
            index = dataclasses.replace(index, parts=there.parts)
        index = dataclasses.replace(index, parts={**index.parts, plan.part: _part(plan, records)})
        index = dataclasses.replace(
            index,
            parts={p: index.parts[p] for p in DATASETS[plan.dataset].parts if p in index.parts},
        )
        write_json(plan.folder / "index.json", dataclasses.asdict(index))
        remove_abandoned_parts(plan.folder, f"{plan.part}-*")
    return index


class TooManyRejected(UserError):
    """More videos are broken than are allowed; `first` is one of them."""

    def __init__(self, message: str, first: Reject) -> None:
        super().__init__(message)
        self.first = first


def check_rejected(plan: ShardPlan, rejected: Sequence[Reject]) -> None:
    """Raises TooManyRejected where more videos are broken than are allowed."""
    if len(rejected) > plan.max_rejected * plan.num_positions:
        first = rejected[0]
        raise TooManyRejected(
            f"{plan.root}: {len(rejected)} of {plan.num_positions} videos are broken, more than {plan.max_rejected:.2%}. "
            f"The first: {first.path}: {first.reason}. All found so far: {plan.folder}/rejected.parquet. "
            "Mend them and repeat the command, or raise --max-rejected.",
            first,
        )


def write_rejected(plan: ShardPlan, rejected: Sequence[Reject]) -> None:
    """`rejected.parquet`: the broken videos of every part, empty where none is broken."""
    path = plan.folder / "rejected.parquet"
    rows = [{"part": plan.part, **dataclasses.asdict(reject)} for reject in rejected]
    if path.exists():
        rows += [row for row in _load_rejected_rows(path) if row["part"] != plan.part]
    rows.sort(key=lambda row: (row["part"], row["place"]))
    table = pa.Table.from_pylist(rows, schema=_REJECTED)
    atomic_write(path, lambda part: pq.write_table(table, part))


def _load_rejected_rows(path: Path) -> list[dict[str, object]]:
    try:
        return pq.read_table(path, schema=_REJECTED).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"{path}: is damaged ({str(error).splitlines()[0]}). Delete it and repeat the command."
        ) from error


@contextlib.contextmanager
def _index_lock(folder: Path) -> Iterator[None]:
    """Inside, no other process changes the index: the elements of two arrays, one per part, may end
    at the same moment.
    """
    with (folder / "index.lock").open("ab") as file:
        with contextlib.suppress(
            OSError
            # a file system without locks: two parts that end in the same second may then need one more
            # call
        ):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _part(plan: ShardPlan, records: Sequence[ShardRecord]) -> Part:
    splits = Counter(split for source in plan.order for split in source.splits)
    return Part(
        num_in_source=len(plan.order),
        num_places=plan.num_positions,
        num_in_split={
            split: splits[split]
            for split, part in DATASETS[plan.dataset].part_of.items()
            if part == plan.part
        },
        shards=tuple(_index_entry(record) for record in records),
    )


def _index_entry(record: ShardRecord) -> Shard:
    """A shard's line of the index; `fps` is the mean over its videos."""
    samples = record.samples
    lengths = sorted(sample.num_frames / sample.fps for sample in samples)
    return Shard(
        name=record.name,
        num_videos=len(samples),
        num_rejected=len(record.rejected),
        num_frames=sum(sample.num_frames for sample in samples),
        num_bytes=record.num_bytes,
        sha256=record.sha256,
        fps=sum(sample.fps for sample in samples) / max(1, len(samples)),
        lengths_seconds=tuple(
            lengths[round(tenth * (len(lengths) - 1) / 10)] for tenth in range(11)
        )
        if lengths
        else (),
    )
