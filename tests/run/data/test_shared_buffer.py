import os

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.data.shared_buffer import SharedBuffer


def test_a_span_is_free_again_when_the_last_thing_made_of_it_is_gone() -> None:
    buffer = SharedBuffer(100)
    first, second = buffer.allocate(60), buffer.allocate(60)
    assert first is not None and second is None
    half = torch.from_numpy(first[1]).view(2, 30)[1]
    del first
    assert buffer.allocate(60) is None
    del half
    assert buffer.allocate(60) is not None
    buffer.close()


def test_spans_in_use_outlive_the_buffer() -> None:
    buffer = SharedBuffer(4096)
    taken = buffer.allocate(10)
    assert taken is not None
    taken[1][:] = 7
    buffer.close()
    assert taken[1].tolist() == [7] * 10


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=40))
def test_spans_never_overlap_and_lie_inside(asked: list[tuple[int, int]]) -> None:
    """Each pair is a size to allocate, and the index of a span in use that is dropped before."""
    buffer, used = SharedBuffer(128), []
    for size, dropped in asked:
        if dropped < len(used):
            del used[dropped]
        taken = buffer.allocate(size)
        if taken is not None:
            used.append(taken)
        del taken
        bytes_used = [i for start, span in used for i in range(start, start + len(span))]
        assert len(set(bytes_used)) == len(bytes_used) and all(0 <= i < 128 for i in bytes_used)
    buffer.close()


def test_a_large_buffer_takes_no_memory_before_it_is_written() -> None:
    buffer = SharedBuffer(1 << 40)
    taken = buffer.allocate(1 << 20)
    assert taken is not None and taken[0] == 0
    taken[1][:] = 1
    assert os.fstat(buffer.file).st_blocks * 512 == 1 << 20
    buffer.close()


def test_a_buffer_has_no_file_name_that_could_be_left_behind() -> None:
    buffer = SharedBuffer(4096)
    assert os.fstat(buffer.file).st_nlink == 0
    buffer.close()


def test_another_map_of_the_file_sees_what_was_written() -> None:
    buffer = SharedBuffer(4096)
    taken = buffer.allocate(3)
    assert taken is not None
    os.pwrite(buffer.file, bytes([1, 2, 3]), taken[0])
    assert np.array_equal(taken[1], [1, 2, 3])
    buffer.close()
