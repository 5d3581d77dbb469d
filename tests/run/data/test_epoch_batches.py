from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.data.epoch_batches import batches_of_epoch


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
    batches = batches_of_epoch(order_N, num_steps=num_steps, world_size=world_size)
    times = Counter(np.concatenate(batches).tolist())
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
    batches = batches_of_epoch(np.arange(num_videos), num_steps=num_steps, world_size=world_size)
    assert len(batches) == num_steps
    sizes = [{len(batch[rank::world_size]) for rank in range(world_size)} for batch in batches]
    assert all(len(of_ranks) == 1 and min(of_ranks) >= 1 for of_ranks in sizes)
    assert max(map(max, sizes)) - min(map(min, sizes)) <= 1


@given(st.integers(1, 40), st.integers(1, 8), st.integers(1, 8))
def test_batches_that_can_be_shared_evenly_are_the_same_for_any_number_of_processes(
    num_steps: int, world_size: int, share: int
) -> None:
    order_N = np.random.default_rng(1).permutation(num_steps * world_size * share)
    together = batches_of_epoch(order_N, num_steps=num_steps, world_size=world_size)
    alone = batches_of_epoch(order_N, num_steps=num_steps, world_size=1)
    assert [b.tolist() for b in together] == [b.tolist() for b in alone]
