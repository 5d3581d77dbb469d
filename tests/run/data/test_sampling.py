import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tasks import sample_of

from kdbatch.run.data.sampling import (
    cheap_start,
    clip_frames,
    evenly_spaced_clips,
    random_clip,
    timeline_frames,
)
from kdbatch.vocab.views import View

VIEW = View(num_frames=16, stride_frames=1, fps=25.0)


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [
        (10, [0] * 10),
        (16, [0] * 10),
        (17, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]),
        (180, [0, 18, 36, 55, 73, 91, 109, 128, 146, 164]),
    ],
)
def test_ten_clips_are_spread_over_the_video(num_frames: int, starts: list[int]) -> None:
    frame_VT = evenly_spaced_clips(sample_of(num_frames), VIEW, 10).frame_VT
    assert frame_VT.shape == (10, 16)
    assert frame_VT[:, 0].tolist() == starts


def test_a_short_video_is_looped() -> None:
    assert clip_frames(sample_of(10), VIEW, 0).tolist() == [*range(10), *range(6)]


def test_a_second_is_a_second_at_any_frame_rate() -> None:
    view = View(num_frames=6, stride_frames=5, fps=25.0)
    assert clip_frames(sample_of(100, fps=50.0), view, 0).tolist() == [0, 10, 20, 30, 40, 50]
    assert clip_frames(sample_of(100, fps=12.5), view, 0).tolist() == [0, 3, 5, 8, 10, 13]
    assert timeline_frames(sample_of(100, fps=50.0), view) == 50


@pytest.mark.parametrize("start", [0, 1, 3, 5, 6])
def test_a_position_between_two_frames_is_always_the_later_one(start: int) -> None:
    """Otherwise steps of one stored frame would repeat frames from some starts and not others."""
    view = View(num_frames=40, stride_frames=6, fps=60.0)
    frames = clip_frames(sample_of(300, fps=10.0), view, start)
    assert set(np.diff(frames)) == {1}


@pytest.mark.parametrize(("fps", "stride"), [(12.0, 1), (24.0, 1), (24.0, 2), (12.0, 3), (7.5, 2)])
@pytest.mark.parametrize("num_frames", [20, 200])
def test_the_share_of_repeated_frames_is_that_of_clips_at_every_start(
    fps: float, stride: int, num_frames: int
) -> None:
    view = View(num_frames=16, stride_frames=stride, fps=25.0)
    sample = sample_of(num_frames, fps)
    starts = range(max(1, timeline_frames(sample, view) - view.window_frames + 1))
    distinct = [len(set(clip_frames(sample, view, start).tolist())) for start in starts]
    expected = view.repeated_share(fps, num_frames / fps)
    assert expected == pytest.approx(1 - np.mean(distinct) / 16, abs=0.065)


def test_faster_videos_that_are_long_enough_have_no_repeats() -> None:
    view = View(num_frames=16, fps=12.0)
    assert [view.repeated_share(fps) for fps in (12.0, 23.976, 25.0, 30.0)] == [0.0] * 4
    assert view.repeated_share(25.0, 1.0) == pytest.approx(4 / 16)  # looped: 12 of 16 differ
    assert View().repeated_share(12.0, 4.0) == pytest.approx(7.8 / 16)


@given(
    st.integers(1, 400),
    st.sampled_from([12.0, 23.976, 25.0, 29.97, 50.0]),
    st.integers(0, 2**32),
    st.integers(1, 4),
)
def test_every_clip_lies_inside_its_video(
    num_frames: int, fps: float, seed: int, stride: int
) -> None:
    view = View(num_frames=8, stride_frames=stride)
    sample = sample_of(num_frames, fps)
    for request in (
        random_clip(sample, view, np.random.default_rng(seed)),
        evenly_spaced_clips(sample, view, 3),
    ):
        assert request.frame_VT.min() >= 0 and request.frame_VT.max() < num_frames
        if timeline_frames(sample, view) >= view.window_frames:
            assert (np.diff(request.frame_VT) >= 0).all()


@given(
    st.integers(30, 400),
    st.integers(0, 2**32),
    st.sampled_from([2, 4, 6]),
    st.sampled_from([25.0, 50.0, 75.0]),
)
def test_where_every_second_frame_is_taken_it_is_an_even_one(
    num_frames: int, seed: int, stride: int, fps: float
) -> None:
    sample, view = sample_of(num_frames, fps), View(num_frames=4, stride_frames=stride, fps=25.0)
    if timeline_frames(sample, view) >= view.window_frames:
        assert not (random_clip(sample, view, np.random.default_rng(seed)).frame_VT % 2).any()


@given(
    st.integers(0, 300),
    st.integers(1, 8),
    st.sampled_from([12.0, 23.976, 25.0, 29.97, 30.0, 50.0, 60.0]),
)
def test_a_start_moves_by_one_position_at_most_and_never_below_the_first(
    start: int, stride: int, fps: float
) -> None:
    view = View(num_frames=4, stride_frames=stride, fps=25.0)
    assert start - cheap_start(sample_of(400, fps), view, start) in ((0, 1) if start else (0,))


@pytest.mark.parametrize(("stride", "fps"), [(1, 25.0), (3, 25.0), (1, 29.97), (2, 29.97)])
def test_where_odd_frames_are_needed_anyway_every_start_is_drawn(stride: int, fps: float) -> None:
    sample, view = sample_of(60, fps), View(num_frames=4, stride_frames=stride, fps=25.0)
    rng = np.random.default_rng(0)
    firsts = {int(random_clip(sample, view, rng).frame_VT[0, 0]) for _ in range(2000)}
    starts = range(timeline_frames(sample, view) - view.window_frames + 1)
    assert firsts == {int(clip_frames(sample, view, start)[0]) for start in starts}
