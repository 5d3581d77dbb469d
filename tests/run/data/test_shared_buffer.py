import os

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.data.shared_buffer import SharedBuffer


def test_a_span_is_free_again_when_the_last_thing_made_of_it_is_gone() -> None:
    ring = SharedBuffer(100)
    first, second = ring.allocate(60), ring.allocate(60)
    assert first is not None and second is None
    half = torch.from_numpy(first[1]).view(2, 30)[1]
    del first
    assert ring.allocate(60) is None
    del half
    assert ring.allocate(60) is not None
    ring.close()


def test_what_is_in_use_outlives_the_ring() -> None:
    ring = SharedBuffer(4096)
    taken = ring.allocate(10)
    assert taken is not None
    taken[1][:] = 7
    ring.close()
    assert taken[1].tolist() == [7] * 10


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=40))
def test_spans_never_overlap_and_lie_inside(asked: list[tuple[int, int]]) -> None:
    """Of each pair, the first is a size to take, the second which of the spans in use is dropped
    before.
    """
    ring, used = SharedBuffer(128), []
    for size, dropped in asked:
        if dropped < len(used):
            del used[dropped]
        taken = ring.allocate(size)
        if taken is not None:
            used.append(taken)
        del taken
        bytes_used = [place for start, span in used for place in range(start, start + len(span))]
        assert len(set(bytes_used)) == len(bytes_used) and all(
            0 <= place < 128 for place in bytes_used
        )
    ring.close()


def test_a_large_ring_takes_no_memory_before_it_is_written() -> None:
    ring = SharedBuffer(1 << 40)
    taken = ring.allocate(1 << 20)
    assert taken is not None and taken[0] == 0
    taken[1][:] = 1
    assert os.fstat(ring.file).st_blocks * 512 == 1 << 20
    ring.close()


def test_a_ring_has_no_name_that_could_be_left_behind() -> None:
    ring = SharedBuffer(4096)
    assert os.fstat(ring.file).st_nlink == 0
    ring.close()


def test_another_map_of_the_file_sees_what_was_written() -> None:
    ring = SharedBuffer(4096)
    taken = ring.allocate(3)
    assert taken is not None
    os.pwrite(ring.file, bytes([1, 2, 3]), taken[0])
    assert np.array_equal(taken[1], [1, 2, 3])
    ring.close()
