"""Hashes of frames: what they are equal for, and what they tell apart."""

import numpy as np
import pytest

from kdbatch.shard.overlap.frame_hash import (
    NUM_BITS,
    VIEWS,
    hash_frames,
    mirrored,
    num_different,
)
from kdbatch.shard.overlap.lookup_index import LookupIndex

WHOLE = list(VIEWS).index("whole")


def landscape(height: int, width: int, *, seed: int = 0, crop: float = 1.0) -> np.ndarray:
    """A smooth picture (1, H, W), or its middle, drawn at any size without scaling."""
    rng = np.random.default_rng(seed)
    y_H1 = ((np.arange(height) + 0.5) / height - 0.5)[:, None] * crop + 0.5
    x_1W = ((np.arange(width) + 0.5) / width - 0.5)[None] * crop + 0.5
    picture_HW = np.zeros((height, width))
    for _ in range(60):
        u, v = rng.integers(0, 12, 2)
        y_phase, x_phase = rng.uniform(0, np.pi, 2)
        wave_HW = np.cos(np.pi * u * y_H1 + y_phase) * np.cos(np.pi * v * x_1W + x_phase)
        picture_HW += rng.normal() / (1 + u + v) * wave_HW
    scaled_HW = 128 + 50 * picture_HW / np.abs(picture_HW).max() * 2
    return scaled_HW.clip(30, 255).astype(np.uint8)[None]


def different(a: np.ndarray, b: np.ndarray) -> int:
    """The bits in which the hashes of two pictures differ, in the most similar pair of views."""
    words_a, words_b = (hash_frames(picture)[0][0] for picture in (a, b))
    return int(num_different(words_a[:, None], words_b[None]).sum(-1).min())


def whole(picture: np.ndarray) -> np.ndarray:
    return hash_frames(picture)[0][0, WHOLE]


def test_a_picture_has_nearly_one_hash_at_all_sizes() -> None:
    for size in ((128, 170), (240, 320), (96, 128), (128, 128), (1080, 1920)):
        bits = num_different(whole(landscape(128, 170)), whole(landscape(*size))).sum()
        assert bits <= 12, size


def test_black_bars_change_nothing() -> None:
    picture = landscape(96, 170)
    boxed = np.pad(picture, ((0, 0), (20, 20), (0, 0)), constant_values=16)
    assert (whole(picture) == whole(boxed)).all()


def test_the_hash_of_a_mirrored_picture_is_the_mirrored_hash() -> None:
    picture = landscape(128, 170)
    bits = num_different(whole(picture[:, :, ::-1]), mirrored(whole(picture))).sum()
    assert bits <= 2  # coefficients near 0
    assert num_different(whole(picture[:, :, ::-1]), whole(picture)).sum() > 60


@pytest.mark.parametrize("share", [0.95, 0.9])
def test_a_small_crop_is_near_one_of_the_views(share: float) -> None:
    cropped = landscape(128, 170, crop=share)
    assert different(landscape(128, 170), cropped) <= 60
    assert different(cropped, landscape(128, 170)) <= 60


def test_other_pictures_differ_in_about_half_of_the_bits() -> None:
    whole_words = np.stack([whole(landscape(128, 170, seed=seed)) for seed in range(30)])
    bits = num_different(whole_words[:, None], whole_words[None]).sum(-1)
    others = bits[~np.eye(30, dtype=bool)]
    assert abs(others.mean() / NUM_BITS - 0.5) < 0.05
    assert others.min() > 60


def test_a_picture_without_contrast_is_marked() -> None:
    grey = np.full((1, 128, 170), 99, np.uint8)
    grey[0, 5, 5] = 120
    _, has_contrast = hash_frames(np.concatenate([grey, landscape(128, 170)]))
    assert has_contrast.tolist() == [False, True]


def test_the_lookup_finds_what_a_comparison_with_everything_finds() -> None:
    """It misses a pair only if the two share none of the four parts."""
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 2**63, 3000, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 63, (500, 6), dtype=np.uint64)
    query = stored[:500] ^ np.bitwise_xor.reduce(flips, axis=1)
    pairs = LookupIndex(stored).near(query, max_different=10)
    found = {(int(q), int(s)) for qs, ss in pairs for q, s in zip(qs, ss, strict=True)}
    q_N, s_N = np.nonzero(num_different(query[:, None], stored[None]) <= 10)
    everything = {(int(q), int(s)) for q, s in zip(q_N, s_N, strict=True)}
    assert found <= everything and len(everything) >= 500
    shares = {
        (q, s)
        for q, s in everything
        if any(int(query[q] ^ stored[s]) >> (16 * i) & 0xFFFF == 0 for i in range(4))
    }
    assert found == shares
