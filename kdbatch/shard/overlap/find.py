"""`kdbatch shard overlap`: the videos of one data set that show what videos of another show."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kdbatch.base.command_lines import overlap_command
from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.shard.overlap.hash_files import HashJob, make_hashes
from kdbatch.shard.overlap.search import Match, SearchJob, search
from kdbatch.shard.pool import map_parallel
from kdbatch.vocab.leaks.overlap_list import ListedPair, OverlapList, stored_part
from kdbatch.vocab.shards.index import (
    ORIGINALS,
    Sample,
    ShardIndex,
    load_index,
    load_indexed_record,
)

# Dense shards that a process has in memory at a time; it goes through them block by block.
BLOCK_SHARDS = 4


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A list, and the numbers of videos of both data sets and of pairs that were candidates."""

    found: OverlapList
    num_first: int
    num_second: int
    num_candidates: int


def find_overlap(
    first: str, second: str, *, shards_dir: Path, processes: int, progress: Progress
) -> Overlap:
    """The pairs of a video of `first` and one of `second` that show the same footage.

    The hashes of frames are kept next to the shards, so a later call goes on where this one ended,
    and another pair of data sets shares them. The key frames of the longer data set are hashed, and
    up to 30 frames a second of the other one.

    Raises:
        UserError: `first` is `second`, or shards are missing or damaged.
        OSError: the hashes cannot be written.
    """
    if first == second:
        other = "ucf101" if first != "ucf101" else "k400"
        raise UserError(
            f"shard overlap: found {first} twice, and every video shows what it shows itself. Name "
            f"two data sets, as in: {overlap_command(first, other)}"
        )
    indexes = [load_index(shards_dir, name) for name in (first, second)]
    is_first_sparse = _seconds(indexes[0]) >= _seconds(indexes[1])
    longer, shorter = indexes if is_first_sparse else reversed(indexes)
    pairs, num_candidates = [], 0
    for agreeing, num in _search(
        tuple(_jobs(shards_dir, longer, is_dense=False)),
        tuple(_jobs(shards_dir, shorter, is_dense=True)),
        processes=processes,
        progress=progress,
    ):
        num_candidates += num
        pairs += [_listed(pair, is_first_sparse=is_first_sparse) for pair in agreeing]
    return Overlap(
        found=OverlapList(
            first=first,
            second=second,
            made_from=tuple(
                stored_part(index, name, part.num_places)
                for index in indexes
                for name, part in index.parts.items()
            ),
            pairs=tuple(sorted(pairs, key=lambda pair: (pair.video, pair.same_as))),
        ),
        num_first=_num_videos(indexes[0]),
        num_second=_num_videos(indexes[1]),
        num_candidates=num_candidates,
    )


@dataclass(frozen=True)
class _AgreeingPair:
    """A match, and the shards of its two videos."""

    match: Match
    sparse: HashJob
    dense: HashJob


def _search(
    sparse: tuple[HashJob, ...], dense: tuple[HashJob, ...], *, processes: int, progress: Progress
) -> Iterator[tuple[list[_AgreeingPair], int]]:
    """The matches of each sparse shard, and its number of candidates."""
    blocks = [dense[i : i + BLOCK_SHARDS] for i in range(0, len(dense), BLOCK_SHARDS)]
    jobs, total = (*dense, *sparse), len(sparse) * (1 + len(blocks)) + len(dense)
    hashed = map_parallel(make_hashes, jobs, processes=processes)
    for num_done, (job, _) in enumerate(zip(jobs, hashed, strict=True), 1):
        progress(num_done, total, f"hashes of {job.title}")
    searches = [SearchJob(sparse=job, dense=block) for block in blocks for job in sparse]
    results = map_parallel(search, searches, processes=processes)
    for num_done, (job, (matches, num)) in enumerate(zip(searches, results, strict=True), 1):
        progress(len(jobs) + num_done, total, f"compare {job.sparse.title}")
        yield [_AgreeingPair(m, job.sparse, job.dense[m.dense_shard]) for m in matches], num


def _listed(pair: _AgreeingPair, *, is_first_sparse: bool) -> ListedPair:
    agreement = pair.match.agreement
    sparse = _samples_of(pair.sparse)[pair.match.sparse_video]
    dense = _samples_of(pair.dense)[pair.match.dense_video]
    ends = [
        (pair.sparse, sparse, agreement.views.of_sparse),
        (pair.dense, dense, agreement.views.of_dense),
    ]
    (job, sample, view), (other_job, other, other_view) = ends if is_first_sparse else ends[::-1]
    views = " = ".join(dict.fromkeys((view, other_view)))
    begins = agreement.offset_seconds
    return ListedPair(
        video=f"{job.folder.name}/{job.part}/{sample.key}",
        place=sample.place,
        same_as=f"{other_job.folder.name}/{other_job.part}/{other.key}",
        splits=" ".join(other.splits),
        frames=agreement.num_frames,
        of=agreement.num_shared,
        equal_bits=round(agreement.share_equal, 3),
        begins_seconds=begins if is_first_sparse else -begins,
        how=f"{views} mirrored" if agreement.views.is_mirrored else views,
    )


@lru_cache(maxsize=64)
def _samples_of(job: HashJob) -> tuple[Sample, ...]:
    return load_indexed_record(job.folder, job.shard).samples


def _jobs(shards_dir: Path, index: ShardIndex, *, is_dense: bool) -> Iterator[HashJob]:
    for name, part in index.parts.items():
        for shard in part.shards:
            yield HashJob(
                folder=shards_dir / index.dataset,
                part=name,
                shard=shard,
                is_dense=is_dense,
                is_original=index.encoding == ORIGINALS,
            )


def _seconds(index: ShardIndex) -> float:
    """The stored seconds of a data set."""
    shards = [shard for part in index.parts.values() for shard in part.shards]
    return sum(shard.num_frames / shard.fps for shard in shards if shard.fps)


def _num_videos(index: ShardIndex) -> int:
    return sum(shard.num_videos for part in index.parts.values() for shard in part.shards)
