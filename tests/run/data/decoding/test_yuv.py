import zlib
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from support.videos import write_video_with_latin1_title

from kdbatch.run.data.decoding.yuv import CHUNK_FRAMES, decode_to_yuv, yuv_to_rgb
from kdbatch.vocab.shards.index import Sample


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


def test_a_title_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    video = write_video_with_latin1_title(tmp_path / "a.mp4").read_bytes()
    sample = Sample(
        key="a",
        place=0,
        label=0,
        splits=("train",),
        group="a",
        num_frames=35,
        fps=25.0,
        source_fps=25.0,
        width=160,
        height=128,
        offset=0,
        num_bytes=len(video),
        index_offset=0,
        index_bytes=0,
        crc32=zlib.crc32(video),
        extradata="",
    )
    assert len(list(decode_to_yuv(tmp_path / "a.mp4", sample))) == 35
