"""Plans of batches: mostly arithmetic on indexes, so most tests read no video."""

import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import clips

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import BatchPlan
from kdbatch.run.data.batches import (
    EvaluationBatches,
    LeftOut,
    StoredVideo,
    iterate_batches,
    load_videos,
    split_epoch,
)
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.tasks.rspnet import sample_clips
from kdbatch.vocab.shards.index import Sample, load_index
from kdbatch.vocab.shards.subset import find_subset
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.views import View


def videos(count: int) -> list[StoredVideo]:
    """Records of videos that do not exist."""
    where = {
        "offset": 0,
        "num_bytes": 0,
        "index_offset": 0,
        "index_bytes": 0,
        "crc32": 0,
        "extradata": "00",
        "group": "",
    }
    about = {
        "label": 0,
        "splits": ("train",),
        "num_frames": 40,
        "fps": 25.0,
        "source_fps": 25.0,
        "width": 64,
        "height": 48,
    }
    return [
        StoredVideo(Path("a.tar"), Sample(key=f"v{i}", place=i, **about, **where))
        for i in range(count)
    ]


def contents(plan: BatchPlan) -> list[object]:
    """The content of a plan, as lists that can be compared."""
    extra = {name: values.tolist() for name, values in plan.extra.items()}
    return [
        plan.keys,
        [(r.frames, r.frame_ranks, r.boxes, r.offsets) for r in plan.requests],
        plan.augment_params,
        plan.shapes,
        extra,
    ]


@st.composite
def epochs(draw: st.DrawFn) -> tuple[int, int, int]:
    """Videos, processes, steps that every process has work in."""
    num_videos, world_size = draw(st.integers(1, 300)), draw(st.integers(1, 8))
    return num_videos, world_size, draw(st.integers(1, -(-num_videos // world_size)))


@given(epochs())
def test_every_video_once_per_epoch_and_at_most_world_size_less_one_again(
    epoch: tuple[int, int, int],
) -> None:
    num_videos, world_size, num_steps = epoch
    order_N = np.random.default_rng(0).permutation(num_videos)
    parts = split_epoch(order_N, num_steps=num_steps, world_size=world_size)
    times = Counter(np.concatenate(parts).tolist())
    assert set(times) == set(range(num_videos))
    again = sum(times.values()) - num_videos
    assert again == -num_videos % world_size
    if num_videos >= world_size:
        assert max(times.values()) == (2 if again else 1)


@given(epochs())
def test_every_process_has_as_many_clips_as_the_others_in_every_step(
    epoch: tuple[int, int, int],
) -> None:
    num_videos, world_size, num_steps = epoch
    parts = split_epoch(np.arange(num_videos), num_steps=num_steps, world_size=world_size)
    assert len(parts) == num_steps
    sizes = [{len(batch[rank::world_size]) for rank in range(world_size)} for batch in parts]
    assert all(len(of_ranks) == 1 and min(of_ranks) >= 1 for of_ranks in sizes)
    assert max(map(max, sizes)) - min(map(min, sizes)) <= 1


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 8))
def test_batches_that_can_be_shared_evenly_are_the_same_for_any_number_of_processes(
    num_steps: int, world_size: int, share: int
) -> None:
    order_N = np.random.default_rng(1).permutation(num_steps * world_size * share)
    together = split_epoch(order_N, num_steps=num_steps, world_size=world_size)
    alone = split_epoch(order_N, num_steps=num_steps, world_size=1)
    assert [b.tolist() for b in together] == [b.tolist() for b in alone]


@given(num_videos=st.integers(1, 60), batch_clips=st.integers(1, 20), epoch=st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_every_video_once_per_epoch_in_an_order_of_its_own(
    num_videos: int, batch_clips: int, epoch: int
) -> None:
    source = clips.source_of(videos(num_videos), batch_clips=batch_clips)
    steps = range(epoch * source.steps_per_epoch, (epoch + 1) * source.steps_per_epoch)
    keys = [source.plan(step).keys for step in steps]
    assert sorted(chain.from_iterable(keys)) == sorted(f"v{i}" for i in range(num_videos))
    assert max(map(len, keys)) <= batch_clips and max(map(len, keys)) - min(map(len, keys)) <= 1
    if num_videos > 20:
        assert keys != [source.plan(step + source.steps_per_epoch).keys for step in steps]


def test_a_plan_is_the_same_from_every_step_that_a_run_may_resume_at() -> None:
    through = clips.source_of(videos(17), batch_clips=5)
    whole = [contents(through.plan(step)) for step in range(12)]
    for start in range(12):
        resumed = clips.source_of(videos(17), batch_clips=5)
        assert [contents(resumed.plan(step)) for step in range(start, 12)] == whole[start:]


def test_every_step_of_every_epoch_draws_for_itself() -> None:
    source = clips.source_of(videos(12), batch_clips=4)
    draws = [str(source.plan(step).augment_params) for step in range(3 * source.steps_per_epoch)]
    assert len(set(draws)) == len(draws) == 9


def test_another_seed_gives_other_clips_in_another_order() -> None:
    one, other = (clips.source_of(videos(30), seed=seed).plan(0) for seed in (0, 1))
    assert one.keys != other.keys and one.augment_params != other.augment_params


@given(world_size=st.integers(1, 8), share=st.integers(1, 3), num_steps=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_processes_that_train_together_make_the_batch_that_one_alone_would(
    world_size: int, share: int, num_steps: int
) -> None:
    all_videos = videos(world_size * share * num_steps)
    alone = clips.source_of(all_videos, batch_clips=world_size * share)
    together = [
        clips.source_of(all_videos, batch_clips=world_size * share, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    for step in range(2 * num_steps):
        whole, parts = alone.plan(step), [source.plan(step) for source in together]
        for rank, part in enumerate(parts):
            assert (
                part.keys == whole.keys[rank::world_size]
                and part.labels == whole.labels[rank::world_size]
            )
            assert part.extra["number"].tolist() == whole.extra["number"][rank::world_size].tolist()
            assert [(r.frames, r.boxes) for r in part.requests] == [
                (r.frames, r.boxes) for r in whole.requests[rank::world_size]
            ]


@given(num_videos=st.integers(8, 70), batch_clips=st.integers(8, 30), world_size=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_shares_are_of_equal_length_in_every_step(
    num_videos: int, batch_clips: int, world_size: int
) -> None:
    sources = [
        clips.source_of(videos(num_videos), batch_clips=batch_clips, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    assert len({source.steps_per_epoch for source in sources}) == 1
    seen: Counter[str] = Counter()
    for step in range(sources[0].steps_per_epoch):
        keys = [source.plan(step).keys for source in sources]
        assert len({len(of_rank) for of_rank in keys}) == 1
        seen.update(chain.from_iterable(keys))
    assert len(seen) == num_videos and seen.total() - num_videos == -num_videos % world_size


def test_more_processes_than_clips_is_an_error() -> None:
    with pytest.raises(
        UserError, match="batches of 4 clips cannot be shared by 8 GPUs. Lower gpus"
    ):
        clips.source_of(videos(30), batch_clips=4, rank=0, world_size=8)


def test_clips_are_consecutive_in_memory_and_share_parameters_on_request() -> None:
    plan = clips.source_of(videos(5), num_clips=3).plan(0)
    sizes = [t * h * w * c for t, h, w, c in plan.shapes]
    assert [offset for request in plan.requests for offset in request.offsets] == np.cumsum(
        [0, *sizes[:-1]]
    ).tolist()
    assert plan.num_bytes == sum(sizes) and plan.num_views == 3
    assert plan.augment_params[0] == plan.augment_params[1] != plan.augment_params[2]


def test_a_speed_task_still_starts_at_odd_frames() -> None:
    view = View(num_frames=4, stride_frames=1, fps=25.0)
    requests, extra = sample_clips(videos(200), RSPNet(), view, np.random.default_rng(0))
    for speed in (1, 2):
        firsts = [
            request.frame_VT[0, 0]
            for request, s in zip(requests, extra["speed"], strict=True)
            if s == speed
        ]
        assert {int(first) % 2 for first in firsts} == {0, 1}


def test_short_videos_are_left_out_and_counted(shards_dir: Path) -> None:
    subset = find_subset(load_index(shards_dir, "k400"), "train", "all", where="here")
    lengths = [video.sample.num_frames for video in clips.videos_of(shards_dir)]
    need = sorted(lengths)[len(lengths) // 2]
    usable, left_out = load_videos(shards_dir, subset, view=clips.VIEW, need_frames=need)
    assert len(usable) == sum(length >= need for length in lengths) > 0
    assert left_out.num_short == sum(length < need for length in lengths) > 0
    assert left_out.num_slow == 0
    with pytest.raises(UserError, match=f"none of {len(lengths)} videos has the 99 frames"):
        load_videos(shards_dir, subset, view=clips.VIEW, need_frames=99)


def test_slow_videos_are_left_out_and_counted_apart(shards_dir: Path, tmp_path: Path) -> None:
    shards_dir = shutil.copytree(shards_dir, tmp_path / "shards")
    num_videos = len(clips.videos_of(shards_dir))
    _slow_down(shards_dir / "k400", place=1, fps=12.0)
    subset = find_subset(load_index(shards_dir, "k400"), "train", "all", where="here")
    for least_fps, num_slow in ((0.0, 0), (12.0, 0), (12.1, 1), (25.0, 1)):
        usable, left_out = load_videos(shards_dir, subset, view=clips.VIEW, least_fps=least_fps)
        assert left_out == LeftOut(num_slow=num_slow, num_short=0)
        assert len(usable) == num_videos - num_slow
        assert {v.sample.place for v in usable} == {*range(num_videos)} - (
            {1} if num_slow else set()
        )
    message = f"none of {num_videos} videos has the 1 frames, at 25.1 or more per second, that this"
    with pytest.raises(UserError, match=message):
        load_videos(shards_dir, subset, view=clips.VIEW, least_fps=25.1)


def _slow_down(folder: Path, *, place: int, fps: float) -> None:
    """Change the frame rate of a video in the record of the first shard, and in the index."""
    index = load_json(folder / "index.json")
    line = index["parts"]["train"]["shards"][0]
    path = folder / f"{Path(line['name']).stem}.json"
    record = load_json(path)
    (sample,) = [each for each in record["samples"] if each["place"] == place]
    sample["fps"] = fps
    write_json(path, record)
    line["record_sha256"] = sha256_of(path)
    write_json(folder / "index.json", index)


def test_an_evaluation_reads_every_video_once_in_order(shards_dir: Path) -> None:
    stored = clips.videos_of(shards_dir)
    source = EvaluationBatches(
        stored,
        view=clips.VIEW,
        videos_per_batch=5,
        request=lambda sample: evenly_spaced_clips(sample, clips.VIEW, 3),
        clip_reader=ClipReader(decoder="pyav"),
    )
    read = list(iterate_batches(source, range(len(source)), num_workers=0))
    assert [key for batch in read for key in batch.keys] == [video.sample.key for video in stored]
    assert all(batch.num_views == 3 and len(batch.clips) == 3 * len(batch.keys) for batch in read)


def test_the_memory_of_a_batch_is_that_of_its_clips(shards_dir: Path) -> None:
    batch = clips.source_of(clips.videos_of(shards_dir))[0]
    assert batch.memory_N is not None
    assert torch.equal(torch.cat([clip.flatten() for clip in batch.clips]), batch.memory_N)
    found = batch.views(size_pixels=16, device=torch.device("cpu"))
    assert found.shape == (2, len(batch.keys), 3, 4, 16, 16)


@pytest.fixture(scope="module")
def shards_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.make_shards(tmp_path_factory.mktemp("data"))
