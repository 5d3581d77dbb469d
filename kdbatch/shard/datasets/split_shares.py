"""Draws splits by share: whole groups, each class as evenly as they allow, the same for a seed."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence


def draw_splits(
    videos: Sequence[tuple[str, Hashable]], *, shares: Mapping[str, float], seed: int
) -> list[str]:
    """The split of each of `videos`, which are pairs of group and class.

    Groups come in an order of hashes of seed and name. Each goes to the split that lacks most of
    its videos, as shares of what a class should have there.
    """
    classes_of: defaultdict[str, Counter[Hashable]] = defaultdict(Counter)
    for group, label in videos:
        classes_of[group][label] += 1
    totals = Counter(label for _, label in videos)
    taken: dict[str, Counter[Hashable]] = {split: Counter() for split in shares}
    split_of: dict[str, str] = {}
    for group in sorted(classes_of, key=lambda group: _hash(seed, group)):
        counts = classes_of[group]

        def lack(split: str, counts: Counter[Hashable] = counts) -> float:
            return sum(
                count * (shares[split] - taken[split][label] / totals[label])
                for label, count in counts.items()
            )

        split_of[group] = max(shares, key=lack)
        taken[split_of[group]].update(counts)
    return [split_of[group] for group, _ in videos]


def _hash(seed: int, group: str) -> bytes:
    text = f"{seed}/{group}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
