"""Fewer labelled videos, and labels that were permuted."""

from dataclasses import replace
from pathlib import Path

from support.tasks import sample_of

from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.train.training_labels import first_of_each_class, shuffle_labels


def stored(place: int, label: int) -> StoredVideo:
    return StoredVideo(Path("t.tar"), replace(sample_of(9, position=place), label=label))


VIDEOS = [stored(place, place % 3) for place in range(29)]


def test_the_first_videos_of_each_class_are_kept_in_their_order() -> None:
    kept = first_of_each_class(VIDEOS, 4)
    assert [video.sample.place for video in kept] == list(range(12))
    assert first_of_each_class(VIDEOS, 100) == VIDEOS


def test_shuffled_labels_are_the_same_labels_on_other_videos() -> None:
    shuffled = shuffle_labels(VIDEOS, seed=0)
    assert [video.sample.key for video in shuffled] == [video.sample.key for video in VIDEOS]
    labels, before = ([v.sample.label for v in videos] for videos in (shuffled, VIDEOS))
    assert sorted(labels) == sorted(before) and labels != before


def test_the_seed_decides_how_labels_are_shuffled() -> None:
    assert shuffle_labels(VIDEOS, seed=1) == shuffle_labels(VIDEOS, seed=1)
    assert shuffle_labels(VIDEOS, seed=1) != shuffle_labels(VIDEOS, seed=2)
