"""The labels that a network is trained on: of few videos of each class, or permuted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.rng import rng_for


def first_of_each_class(videos: Sequence[StoredVideo], number: int) -> list[StoredVideo]:
    """The first `number` videos of each class, in stored order; a class may have fewer."""
    seen: Counter[int] = Counter()
    kept = []
    for video in videos:
        seen[video.sample.label] += 1
        if seen[video.sample.label] <= number:
            kept.append(video)
    return kept


def shuffle_labels(videos: Sequence[StoredVideo], *, seed: int) -> list[StoredVideo]:
    """The same videos with their labels permuted among them, so that classes keep their sizes."""
    order = rng_for(seed, "shuffled labels").permutation(len(videos))
    labels = [videos[i].sample.label for i in order]
    return [
        replace(video, sample=replace(video.sample, label=label))
        for video, label in zip(videos, labels, strict=True)
    ]
