from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tasks import sample_of

from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.evaluation.best_epoch import hold_out
from kdbatch.vocab.recipes.evaluation import Selection
from kdbatch.vocab.shards.subset import Subset


def _subset(digest: str = "x") -> Subset:
    return Subset(dataset="ucf101", split="train01", num_places=0, num_classes=101, digest=digest)


def _video(key: str, *, label: int, group: str) -> StoredVideo:
    sample = replace(sample_of(50), key=key, label=label, splits=("train01",), group=group)
    return StoredVideo(Path("a.tar"), sample)


def _like_ucf101() -> list[StoredVideo]:
    """101 classes of 18 groups of 4 to 7 videos: about as many as the first training split has."""
    counts = {(k, g): 4 + (k + g) % 3 + (g % 4 == 0) for k in range(101) for g in range(18)}
    return [
        _video(f"v{k}g{g}c{c}", label=k, group=f"v{k}g{g}")
        for (k, g), count in counts.items()
        for c in range(count)
    ]


def test_about_800_videos_of_a_split_like_ucf101_are_held_out_evenly_over_classes() -> None:
    videos = _like_ucf101()
    kept, out = hold_out(videos, share=0.084, subset=_subset())
    assert abs(len(videos) - 9537) < 100
    assert (
        len(kept) + len(out) == len(videos)
        and 0.97 * 0.084 * len(videos) <= len(out) <= 0.084 * len(videos) + 0.5
    )
    per_class = Counter(v.sample.label for v in out)
    assert len(per_class) == 101 and max(per_class.values()) <= 14


def test_hmdb51s_films_stay_whole_though_they_span_classes() -> None:
    videos = [_video(f"v{i}", label=i % 51, group=f"film{(i * i) % 211}") for i in range(3570)]
    kept, out = hold_out(videos, share=0.112, subset=_subset())
    assert not {v.sample.group for v in kept} & {v.sample.group for v in out}
    assert 350 <= len(out) <= 400
    assert {v.sample.label for v in kept} == set(range(51))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=60),
    st.floats(0.01, 0.5),
)
def test_whole_groups_leave_and_no_class_disappears(
    drawn: list[tuple[int, int]], share: float
) -> None:
    videos = [
        _video(f"v{i}", label=label, group=f"g{group}") for i, (label, group) in enumerate(drawn)
    ]
    try:
        kept, out = hold_out(videos, share=share, subset=_subset())
    except UserError as error:
        assert "no group small enough" in str(error)
        return
    assert {v.sample.key for v in kept} | {v.sample.key for v in out} == {
        v.sample.key for v in videos
    }
    assert not {v.sample.group for v in kept} & {v.sample.group for v in out}
    assert {v.sample.label for v in kept} == {v.sample.label for v in videos}
    assert 0 < len(out) <= round(share * len(videos))


def test_the_choice_depends_on_the_subset_alone() -> None:
    videos = _like_ucf101()
    first = hold_out(videos, share=0.1, subset=_subset())
    assert [v.sample.key for v in hold_out(videos[::-1], share=0.1, subset=_subset())[1]] == [
        v.sample.key for v in first[1]
    ][::-1]
    assert hold_out(videos, share=0.1, subset=_subset("other"))[1] != first[1]


def test_a_split_of_one_group_says_what_would_do() -> None:
    with pytest.raises(
        UserError,
        match=r"ucf101/train01: selection.share 0.2 holds no video out: 9 videos in 1 groups "
        r".* keep the last epoch",
    ):
        hold_out(
            [_video(f"v{i}", label=i % 3, group="g") for i in range(9)], share=0.2, subset=_subset()
        )


@pytest.mark.parametrize("share", [0.0, -0.1, 0.6, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="Write 0.001 to 0.5"):
        Selection(share=share)
