from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kdbatch.shard.order import balanced_order


@dataclass(frozen=True)
class Video:
    key: str
    label: int


VIDEOS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(
    lambda labels: [Video(f"v{i}", label) for i, label in enumerate(labels)]
)


@given(VIDEOS)
def test_every_prefix_is_balanced_among_classes_that_have_videos_left(videos: list[Video]) -> None:
    order, total = balanced_order(videos), Counter(video.label for video in videos)
    seen: Counter[int] = Counter()
    for video in order:
        seen[video.label] += 1
        unfinished = [seen[label] for label in total if seen[label] < total[label]]
        assert max(unfinished, default=0) - min(unfinished, default=0) <= 1
        assert all(seen[label] <= min(unfinished, default=seen[label]) + 1 for label in total)


@given(VIDEOS, st.randoms(use_true_random=False))
def test_the_order_holds_every_video_once_and_ignores_how_they_were_listed(
    videos: list[Video], chance
) -> None:
    shuffled = list(videos)
    chance.shuffle(shuffled)
    order = balanced_order(videos)
    assert sorted(video.key for video in order) == sorted(video.key for video in videos)
    assert balanced_order(shuffled) == order


def test_another_seed_gives_another_order() -> None:
    videos = [Video(f"v{i}", i % 3) for i in range(30)]
    assert balanced_order(videos, seed=1) != balanced_order(videos, seed=2)


def test_the_order_is_this_one_for_ever() -> None:
    """Shards on disk follow it: a change here would break every subset that was made before."""
    videos = [Video(f"v{i}", i % 3) for i in range(9)]
    assert [video.key for video in balanced_order(videos)] == [
        "v5",
        "v6",
        "v4",
        "v7",
        "v0",
        "v8",
        "v3",
        "v1",
        "v2",
    ]
