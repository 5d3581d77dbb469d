"""The order in which a data set's videos are stored: every prefix is balanced over classes."""

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
    """`videos` so that, in every prefix, the counts of classes that have videos left differ by at
    most one.

    Round r takes the r-th video of every class that has one. Which video of a class is its r-th,
    and in which order a round goes through the classes, is drawn by hashing: a pure function of
    keys, labels and seed, whatever order the files were listed in, and of no library's random
    numbers.
    """
    of_class: defaultdict[int, list[LabelledT]] = defaultdict(list)
    for video in videos:
        of_class[video.label].append(video)
    placed = []
    for label, members in of_class.items():
        members.sort(key=lambda video: _draw(seed, label, video.key))
        placed += [(rank, _draw(seed, rank, label), video) for rank, video in enumerate(members)]
    placed.sort(key=lambda item: item[:2])
    return [video for _, _, video in placed]


def _draw(*parts: int | str) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
