import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbatch.run.data.decoding.yuv import CHUNK_FRAMES, yuv_to_rgb


@given(
    st.integers(8, 130).map(lambda half: 2 * half),
    st.integers(8, 70).map(lambda half: 2 * half),
    st.integers(1, 3 * CHUNK_FRAMES),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_frames_converted_together_are_those_converted_one_by_one(
    width: int, height: int, num: int, seed: int
) -> None:
    frame_NIW = np.random.default_rng(seed).integers(
        0, 256, (num, height * 3 // 2, width), dtype=np.uint8
    )
    alone = [
        VideoFrame.from_ndarray(frame_IW, format="yuv420p").reformat(format="rgb24").to_ndarray()
        for frame_IW in frame_NIW
    ]
    assert np.array_equal(yuv_to_rgb(frame_NIW), np.stack(alone))


@pytest.mark.parametrize(
    ("luma", "red", "blue", "rgb"), [(16, 128, 128, 0), (235, 128, 128, 255), (126, 128, 128, 128)]
)
def test_grey_is_scaled_from_limited_range(luma: int, red: int, blue: int, rgb: int) -> None:
    """ITU-R BT.601: black is 16, white 235; 128 is no colour."""
    frame_NIW = np.full((1, 24, 16), 128, np.uint8)
    frame_NIW[:, :16] = luma
    assert np.abs(yuv_to_rgb(frame_NIW).astype(int) - rgb).max() <= 1
