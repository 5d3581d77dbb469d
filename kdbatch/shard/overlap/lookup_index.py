"""Finds all stored hashes that are near a given one, without comparing it with each of them.

The coarse hash is cut into four parts of 16 bits. Two hashes that differ in few bits are likely to
share a part (locality-sensitive hashing by bit sampling, Indyk and Motwani, STOC 1998), so a hash
is compared only with those that share a part with it. Videos have several frames, and one that is
found is enough.
"""

from collections.abc import Iterator

import numpy as np

from kdbatch.shard.overlap.frame_hash import num_different

NUM_PARTS, PART_BITS = 4, 16
_MAX_COMPARISONS = 1 << 21  # at a time: 16 MB an array


class LookupIndex:
    """Coarse hashes (N), uint64, sorted by each of their parts."""

    def __init__(self, words: np.ndarray) -> None:
        self.words = words
        self.orders, self.starts = [], []
        for part in range(NUM_PARTS):
            values = _part_of(words, part)
            order = np.argsort(values, kind="stable").astype(np.uint32)
            self.orders.append(order)
            counts = np.bincount(values, minlength=1 << PART_BITS)
            self.starts.append(np.concatenate([[0], np.cumsum(counts)]))

    def near(
        self, words: np.ndarray, *, max_different: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of positions, of `words` and of the stored hashes, that are near each other.

        A pair that shares several parts comes several times.
        """
        for part in range(NUM_PARTS):
            values, starts = _part_of(words, part), self.starts[part]
            sizes = starts[values + 1] - starts[values]
            for chunk in _chunks(sizes):
                query = np.repeat(np.arange(chunk.start, chunk.stop), sizes[chunk])
                ends = np.cumsum(sizes[chunk])
                within = np.arange(len(query)) - np.repeat(ends - sizes[chunk], sizes[chunk])
                found = self.orders[part][np.repeat(starts[values[chunk]], sizes[chunk]) + within]
                is_near = num_different(words[query], self.words[found]) <= max_different
                yield query[is_near], found[is_near]


def _part_of(words: np.ndarray, part: int) -> np.ndarray:
    shifted = words >> np.uint64(part * PART_BITS)
    return (shifted & np.uint64((1 << PART_BITS) - 1)).astype(np.int64)


def _chunks(sizes: np.ndarray) -> Iterator[slice]:
    """Runs of hashes with at most _MAX_COMPARISONS in all, or with one hash."""
    total = np.concatenate([[0], np.cumsum(sizes)])
    start = 0
    while start < len(sizes):
        stop = int(np.searchsorted(total, total[start] + _MAX_COMPARISONS, side="right")) - 1
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop
