import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbatch.run.data.geometry import blur, resize_batch, resize_clips, resize_matrix, rotate


def _clips(sizes: list[tuple[int, int]], seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(0, 256, (2, h, w, 3), dtype=np.uint8)) for h, w in sizes]


def _slow_line(values: np.ndarray, size: int) -> np.ndarray:
    """Resize one line of pixels: weighted means under a triangle as wide as the coarser grid."""
    scale = len(values) / size
    out = []
    for s in range(size):
        centre, reach = (s + 0.5) * scale, max(scale, 1.0)
        shares = [max(0.0, 1 - abs(i + 0.5 - centre) / reach) for i in range(len(values))]
        out.append(sum(a * v for a, v in zip(shares, values, strict=True)) / sum(shares))
    return np.array(out)


def _slow_resize(clip_THWC: np.ndarray, size: int) -> np.ndarray:
    down = np.apply_along_axis(_slow_line, 1, clip_THWC.astype(np.float64), size)
    return np.apply_along_axis(_slow_line, 2, down, size)


@given(
    st.integers(3, 40), st.integers(3, 40), st.integers(4, 24), st.booleans(), st.integers(0, 99)
)
@settings(max_examples=25, deadline=None)
def test_resizing_is_a_mean_under_triangles(
    height: int, width: int, size: int, flip: bool, seed: int
) -> None:
    clips = _clips([(height, width), (20, 33)], seed)
    together = resize_batch(clips, torch.tensor([flip, not flip]), size_pixels=size).permute(
        0, 2, 3, 4, 1
    )
    rounded = resize_clips(clips, [flip, not flip], size_pixels=size)
    assert rounded.dtype == torch.uint8
    for clip, mirrored, exact, near in zip(clips, (flip, not flip), together, rounded, strict=True):
        expected = _slow_resize(clip.numpy(), size)
        expected = expected[:, :, ::-1] if mirrored else expected
        assert np.abs(exact.numpy() - expected).max() < 1e-3
        assert np.abs(near.numpy() - expected).max() < 1.5


def test_a_clip_of_the_requested_size_is_not_changed() -> None:
    clips = _clips([(16, 16)])
    assert torch.equal(resize_clips(clips, [False], size_pixels=16)[0], clips[0])
    assert torch.equal(
        resize_batch(clips, None, size_pixels=16)[0].permute(1, 2, 3, 0), clips[0].float()
    )


def test_the_rows_of_a_resize_matrix_are_means_of_a_clips_own_pixels() -> None:
    share_BSH = resize_matrix(torch.tensor([7.0, 50.0]), 50, 12)
    assert torch.allclose(share_BSH.sum(-1), torch.ones(2, 12)) and (share_BSH >= 0).all()
    assert not share_BSH[0, :, 7:].any()


def _slow_rotate(frame_HW: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate counter-clockwise, pixel by pixel, with rows counted downwards: bilinear
    interpolation, reflection at the edges.
    """
    size, angle = len(frame_HW), math.radians(degrees)
    out = np.zeros_like(frame_HW)

    def at(y: int, x: int) -> float:
        return frame_HW[_mirror(y, size), _mirror(x, size)]

    for row in range(size):
        for column in range(size):
            right, up = column - (size - 1) / 2, (size - 1) / 2 - row
            x = math.cos(angle) * right + math.sin(angle) * up + (size - 1) / 2
            y = (size - 1) / 2 - (math.cos(angle) * up - math.sin(angle) * right)
            top, left = math.floor(y), math.floor(x)
            b, a = y - top, x - left
            upper = (1 - a) * at(top, left) + a * at(top, left + 1)
            lower = (1 - a) * at(top + 1, left) + a * at(top + 1, left + 1)
            out[row, column] = (1 - b) * upper + b * lower
    return out


def _mirror(index: int, size: int) -> int:
    while not 0 <= index < size:
        index = -1 - index if index < 0 else 2 * size - 1 - index
    return index


@pytest.mark.parametrize("degrees", [-10.0, -3.5, 5.0, 30.0])
def test_a_small_rotation_is_about_the_centre_and_counter_clockwise(degrees: float) -> None:
    clip = torch.rand(2, 3, 2, 15, 15, generator=torch.Generator().manual_seed(0))
    turned = rotate(clip, torch.tensor([degrees, 0.0]))
    for c in range(3):
        for t in range(2):
            assert (
                np.abs(turned[0, c, t].numpy() - _slow_rotate(clip[0, c, t].numpy(), degrees)).max()
                < 1e-4
            )
    assert torch.allclose(turned[1], clip[1], atol=1e-5)


def test_a_rotation_by_90_degrees_is_a_quarter_turn() -> None:
    clip = torch.rand(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(
        rotate(clip, torch.tensor([90.0])), torch.rot90(clip, 1, (-2, -1)), atol=1e-5
    )


def _slow_blur(frame_HW: np.ndarray, sigma: float) -> np.ndarray:
    size = len(frame_HW)
    out = np.zeros_like(frame_HW)
    for row in range(size):
        for column in range(size):
            total = weight = 0.0
            for y in range(size):
                for x in range(size):
                    bell = math.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2))
                    total, weight = total + bell * frame_HW[y, x], weight + bell
            out[row, column] = total / weight
    return out


def test_a_blur_is_a_gaussian_mean_with_the_clips_own_sigma() -> None:
    clip = torch.rand(3, 3, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    blurred = blur(clip, torch.tensor([0.7, 0.0, 2.0]))
    assert torch.equal(blurred[1], clip[1])
    for b, sigma in ((0, 0.7), (2, 2.0)):
        for c in range(3):
            assert (
                np.abs(
                    blurred[b, c, 0].numpy() - _slow_blur(clip[b, c, 0].double().numpy(), sigma)
                ).max()
                < 1e-5
            )
