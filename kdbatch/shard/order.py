"""Orders the videos of a data set for storage, with every prefix balanced over classes."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol, TypeVar

ORDER_SEED = 0


class Labelled(Protocol):
    """Anything with a unique key and a label."""

    @property
    def key(self) -> str: ...
    @property
    def label(self) -> int: ...


LabelledT = TypeVar("LabelledT", bound=Labelled)


def balanced_order(videos: Sequence[LabelledT], *, seed: int = ORDER_SEED) -> list[LabelledT]:
    """Order `videos` so that every prefix is balanced over classes.

    In every prefix, the counts of classes that have videos left differ by at most one. Round r
    takes the r-th video of every class that has one. Hashes decide which video of a class is its
    r-th, and the order of the classes within a round. So the order is a pure function of keys,
    labels and seed: it depends neither on the order of `videos` nor on a library's random numbers.
    """
    videos_of: defaultdict[int, list[LabelledT]] = defaultdict(list)
    for video in videos:
        videos_of[video.label].append(video)
    ranked = []
    for label, members in videos_of.items():
        members.sort(key=lambda video: _hash_key(seed, label, video.key))
        ranked += [(round_, _hash_key(seed, round_, label), v) for round_, v in enumerate(members)]
    ranked.sort(key=lambda item: item[:2])
    return [video for _, _, video in ranked]


def _hash_key(*parts: int | str) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
