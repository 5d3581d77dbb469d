"""Compares the videos of one shard with all videos of the other data set.

Two videos are candidates if the lookup of coarse hashes finds a frame of each whose whole hashes
agree. All of their frames decide.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.shard.overlap.compare_videos import (
    MAX_DIFFERENT,
    MIRRORED_VIEWS,
    Agreement,
    Frames,
    find_agreement,
)
from kdbatch.shard.overlap.frame_hash import VIEWS, mirrored, num_different
from kdbatch.shard.overlap.hash_files import HashJob, VideoHashes, load_hashes
from kdbatch.shard.overlap.lookup_index import LookupIndex

MAX_COARSE_DIFFERENT = 14  # bits of 63, for the whole hashes of two frames to be compared


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """One shard of the sparse data set, and some of the dense one."""

    sparse: HashJob
    dense: tuple[HashJob, ...]


@dataclass(frozen=True, kw_only=True)
class Match:
    """Video number `sparse_video` of the shard shows what video number `dense_video` of the shard
    number `dense_shard` shows.
    """

    sparse_video: int
    dense_shard: int
    dense_video: int
    agreement: Agreement


@dataclass(frozen=True, kw_only=True)
class _DenseSide:
    """All videos of the dense shards, and the indexes of their hashes: of all views, also mirrored,
    and of whole pictures.
    """

    frames: tuple[Frames, ...]
    places: tuple[tuple[int, int], ...]
    indexes: tuple["_WordIndex", "_WordIndex"]


@dataclass(frozen=True)
class _WordIndex:
    """Hashes (N, 4) of dense videos, by their coarse hashes, and the video (N) of each."""

    words_N4: np.ndarray
    video_N: np.ndarray
    lookup: LookupIndex


def search(job: SearchJob) -> tuple[list[Match], int]:
    """The matches of the shard's videos, and the number of pairs of videos that were compared.

    Raises:
        UserError: hashes were removed or damaged since they were made.
    """
    side = _dense_side(job.dense)
    hashes = _loaded(job.sparse)
    matches, candidates = [], _candidates(hashes, side)
    for video, other in candidates:
        agreement = find_agreement(_frames_of(hashes, video), side.frames[other])
        if agreement:
            shard, number = side.places[other]
            matches.append(
                Match(
                    sparse_video=video, dense_shard=shard, dense_video=number, agreement=agreement
                )
            )
    return matches, len(candidates)


def _candidates(hashes: VideoHashes, side: _DenseSide) -> list[tuple[int, int]]:
    """Pairs of a video of the shard and a dense video that have a frame in common."""
    counts = np.diff(hashes.first_frame)
    video_T = np.repeat(np.arange(len(counts)), counts)[hashes.has_contrast]
    words_TV4 = hashes.words[hashes.has_contrast]
    any_view, whole = side.indexes
    num_dense = max(1, len(side.frames))
    found: set[int] = set()
    for index, query_TV4 in ((any_view, words_TV4[:, :1]), (whole, words_TV4[:, 1:])):
        words_Q4 = query_TV4.reshape(-1, 4)
        video_Q = np.repeat(video_T, query_TV4.shape[1])
        for query, entry in index.lookup.near(words_Q4[:, 0], max_different=MAX_COARSE_DIFFERENT):
            different = num_different(words_Q4[query], index.words_N4[entry]).sum(-1)
            agrees = different <= MAX_DIFFERENT
            pairs = video_Q[query[agrees]] * num_dense + index.video_N[entry[agrees]]
            found.update(np.unique(pairs).tolist())
    return [divmod(pair, num_dense) for pair in sorted(found)]


@lru_cache(maxsize=1)
def _dense_side(jobs: tuple[HashJob, ...]) -> _DenseSide:
    """Loaded once in each worker process for each block of shards."""
    frames, places = [], []
    for shard, job in enumerate(jobs):
        hashes = _loaded(job)
        for video in range(job.shard.num_videos):
            frames.append(_frames_of(hashes, video))
            places.append((shard, video))
    video_N = np.repeat(np.arange(len(frames)), [len(video.seconds) for video in frames])
    no_words = np.empty((0, len(VIEWS), 4), np.uint64)
    words_NV4 = np.concatenate([no_words, *(video.words for video in frames)])
    flipped_NV4 = mirrored(words_NV4[:, :MIRRORED_VIEWS])
    both = (np.concatenate([words_NV4, flipped_NV4], axis=1), words_NV4[:, :1])
    return _DenseSide(
        frames=tuple(frames),
        places=tuple(places),
        indexes=(_word_index(both[0], video_N), _word_index(both[1], video_N)),
    )


def _word_index(words_NV4: np.ndarray, video_N: np.ndarray) -> _WordIndex:
    words_N4 = words_NV4.reshape(-1, 4)
    return _WordIndex(
        words_N4,
        np.repeat(video_N, words_NV4.shape[1]),
        LookupIndex(np.ascontiguousarray(words_N4[:, 0])),
    )


def _frames_of(hashes: VideoHashes, video: int) -> Frames:
    where = hashes.frames_of(video)
    has_contrast = hashes.has_contrast[where]
    return Frames(
        words=hashes.words[where][has_contrast], seconds=hashes.seconds[where][has_contrast]
    )


def _loaded(job: HashJob) -> VideoHashes:
    hashes = load_hashes(job)
    if hashes is None:
        raise UserError(f"{job.path}: was removed or damaged just now. Repeat the command.")
    return hashes
