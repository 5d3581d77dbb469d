"""The stored form does not tell the speed of a clip."""

from pathlib import Path

import numpy as np
import pytest
from av.video.frame import PictureType, VideoFrame
from support import speed_detector as detector
from support.inputs import real_clips
from support.older_shards import store_as_version_2
from support.videos import write_video

from kdbatch.base.progress import silent
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.shard.transcode import FRAMES_PER_GROUP, FrameTypes, count_frames, transcode
from kdbatch.vocab.packet_index import unpack_index

NUM_CLIPS, NUM_DRAWS = 320, 8
LONG = ToySize(k400_train=1, k400_val=1, num_motions=1, min_frames=80, max_frames=96)


def types_of(seed: int, num_frames: int, *, is_still: bool = False) -> list[PictureType]:
    """The types of a video of noise, or of one picture of it."""
    rng, types, drawn = np.random.default_rng(seed), FrameTypes(), []
    picture = rng.integers(0, 256, (24, 16), np.uint8)
    for number in range(num_frames):
        if not is_still:
            picture = rng.integers(0, 256, (24, 16), np.uint8)
        drawn.append(types.draw(number, VideoFrame.from_ndarray(picture, format="yuv420p")))
    return drawn


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
def test_the_type_of_a_frame_says_nothing_of_that_of_another_at_any_stride(stride: int) -> None:
    pairs = []
    for seed in range(60):
        is_b = [drawn == PictureType.B for drawn in types_of(seed, 10 * FRAMES_PER_GROUP)]
        inner = [
            n for n in range(len(is_b)) if n % FRAMES_PER_GROUP in range(1, FRAMES_PER_GROUP - 1)
        ]
        pairs += [(is_b[n], is_b[n + stride]) for n in inner if n + stride in set(inner)]
    first, second = np.array(pairs, float).T
    assert len(pairs) > 3000
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / len(pairs) ** 0.5
    even, odd = first[::2].mean(), first[1::2].mean()
    assert even == pytest.approx(odd, abs=0.05)
    assert 0.78 < first.mean() < 0.84


def test_equal_videos_have_equal_types_and_no_others_do() -> None:
    assert types_of(0, 64) == types_of(0, 64) != types_of(1, 64)


def test_the_types_of_a_still_picture_do_not_repeat() -> None:
    types = types_of(0, 8 * FRAMES_PER_GROUP, is_still=True)
    groups = {
        tuple(types[n : n + FRAMES_PER_GROUP]) for n in range(0, len(types), FRAMES_PER_GROUP)
    }
    assert len(groups) == 8


@pytest.mark.parametrize("num_frames", [2, 3, 15, 16, 17, 18, 31, 40])
def test_a_video_that_ends_anywhere_in_a_group_is_stored_whole(
    tmp_path: Path, num_frames: int
) -> None:
    stored = transcode(write_video(tmp_path / "a.avi", num_frames=num_frames))
    assert stored.num_frames == count_frames(stored.video) == num_frames
    packets = unpack_index(stored.index)
    assert [p.display_index for p in packets if p.is_key] == list(range(0, num_frames, 16))
    last_of_groups = {min(n + 15, num_frames - 1) for n in range(0, num_frames, 16)}
    needed = {p.display_index for p in packets if p.is_needed_by_others}
    assert last_of_groups - {p.display_index for p in packets if p.is_key} <= needed | {
        num_frames - 1
    }


def _tells_no_more_than_original(path: Path) -> bool:
    """Whether the speed shows in stored frames at most as it does in the original, over draws.

    What counts is the distance from chance: a statistic that is lower for slow clips tells them
    apart as well as one that is higher. The bound is one-sided: a stored form that tells less than
    its original, whose own encoder alternates types, is what drawing them is for.
    """
    original = detector.speed_auc([detector.frames_of_original(path)], num_clips=NUM_CLIPS)
    draws = detector.frames_of_draws(path, NUM_DRAWS)
    stored = detector.speed_auc(draws, num_clips=NUM_CLIPS // NUM_DRAWS)
    return abs(stored - 0.5) <= abs(original - 0.5) + 0.05


@pytest.mark.rare
def test_a_stored_real_video_tells_the_speed_of_clips_no_better_than_its_original() -> None:
    for path in real_clips():
        assert _tells_no_more_than_original(path), path.name


@pytest.mark.rare
def test_a_stored_toy_tells_the_speed_of_clips_no_better_than_its_original(tmp_path: Path) -> None:
    write_toy(tmp_path, processes=1, progress=silent, size=LONG, datasets=["k400"])
    for path in sorted((tmp_path / "k400").rglob("*.mp4"))[:2]:
        assert _tells_no_more_than_original(path), path.name


@pytest.mark.rare
def test_the_detector_finds_the_speed_where_types_alternate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form of version 2, in which every other frame is a B-frame."""
    store_as_version_2(monkeypatch)
    write_toy(tmp_path, processes=1, progress=silent, size=LONG, datasets=["k400"])
    for path in sorted((tmp_path / "k400").rglob("*.mp4"))[:2]:
        assert not _tells_no_more_than_original(path), path.name
