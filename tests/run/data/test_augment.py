from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.data.augment import apply_augment, denormalize
from kdbatch.run.data.augment_params import AugmentParams, sample_augment
from kdbatch.run.data.colour import apply_colour, to_gray
from kdbatch.run.data.geometry import blur, resize_clips, rotate
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER_CROP, THREE_CROPS, Augment
from tests.support.colour_values import colour_values

CPU = torch.device("cpu")
CROPS: tuple[Literal["random"], Literal["center"]] = ("random", "center")


def _clip(seed: int = 0, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, height, width, 3), dtype=np.uint8)


def _cut(frame_THWC: np.ndarray, draw: AugmentParams) -> np.ndarray:
    top, left, height, width = draw.box
    return frame_THWC[:, top : top + height, left : left + width].copy()


def test_the_centre_view_is_the_largest_square_unchanged() -> None:
    clip = _clip()
    draw = sample_augment(CENTER_CROP, height=20, width=30, rng=np.random.default_rng(0))
    out = denormalize(
        apply_augment([torch.from_numpy(_cut(clip, draw))], [draw], size_pixels=20, device=CPU)
    )
    assert torch.allclose(
        out[0], torch.from_numpy(clip[:, :, 5:25]).permute(3, 0, 1, 2) / 255, atol=1e-6
    )


@given(st.integers(8, 200), st.integers(8, 200), st.integers(0, 2**32))
def test_a_drawn_box_lies_in_the_frame_and_has_the_requested_area(
    height: int, width: int, seed: int
) -> None:
    draw = sample_augment(
        Augment(min_area=0.25), height=height, width=width, rng=np.random.default_rng(seed)
    )
    top, left, h, w = draw.box
    assert top >= 0 and left >= 0 and h > 0 and w > 0 and top + h <= height and left + w <= width
    assert h * w >= 0.25 * height * width * 0.8 or h == w == min(height, width)


@given(
    st.integers(8, 200),
    st.integers(8, 200),
    st.integers(0, 2**32),
    st.sampled_from(CROPS),
)
def test_a_square_crop_has_the_requested_side_and_lies_in_the_frame(
    height: int, width: int, seed: int, crop: Literal["random", "center"]
) -> None:
    draw = sample_augment(
        Augment(crop=crop, square_side=0.875),
        height=height,
        width=width,
        rng=np.random.default_rng(seed),
    )
    top, left, h, w = draw.box
    assert (
        h == w == round(0.875 * min(height, width))
        and 0 <= top <= height - h
        and 0 <= left <= width - w
    )
    if crop == "center":
        assert (top, left) == ((height - h) // 2, (width - w) // 2)


def test_equal_frames_stay_equal_for_any_parameters() -> None:
    still = np.repeat(_clip()[:1], 4, axis=0)
    for seed in range(10):
        draw = sample_augment(
            TASKS["rspnet"].augment, height=20, width=30, rng=np.random.default_rng(seed)
        )
        out = apply_augment(
            [torch.from_numpy(_cut(still, draw))], [draw], size_pixels=16, device=CPU
        )
        assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-5)


def test_clips_of_a_batch_are_independent() -> None:
    draws = [
        sample_augment(TASKS["rspnet"].augment, height=20, width=30, rng=np.random.default_rng(s))
        for s in range(6)
    ]
    clips = [torch.from_numpy(_cut(_clip(s), d)) for s, d in enumerate(draws)]
    together = apply_augment(clips, draws, size_pixels=16, device=CPU)
    for b in range(6):
        alone = apply_augment(clips[b : b + 1], draws[b : b + 1], size_pixels=16, device=CPU)
        assert torch.allclose(together[b], alone[0], atol=1e-5)


def test_a_flip_mirrors_and_grey_has_three_equal_channels() -> None:
    clip = torch.from_numpy(_clip(height=16, width=16))
    box = (0, 0, 16, 16)
    plain, flipped, gray = (
        denormalize(
            apply_augment(
                [clip], [AugmentParams(box, bool(f), bool(g))], size_pixels=16, device=CPU
            )
        )
        for f, g in ((0, 0), (1, 0), (0, 1))
    )
    assert torch.equal(flipped, plain.flip(-1))
    assert torch.allclose(gray[:, 0], gray[:, 1], atol=1e-6) and torch.allclose(
        gray[:, :1], to_gray(plain), atol=1e-6
    )


def test_brightness_contrast_and_saturation_follow_their_formulas() -> None:
    clip = torch.from_numpy(_clip(height=16, width=16))
    box = (0, 0, 16, 16)
    x = denormalize(
        apply_augment([clip], [AugmentParams(box, False, False)], size_pixels=16, device=CPU)
    )
    bright, contrast, saturated = (
        denormalize(
            apply_augment(
                [clip],
                [AugmentParams(box, False, False, **{name: 0.6})],
                size_pixels=16,
                device=CPU,
            )
        )
        for name in ("brightness", "contrast", "saturation")
    )
    mean = to_gray(x).mean(dim=(-1, -2), keepdim=True)
    assert torch.allclose(bright, x * 0.6, atol=1e-5)
    assert torch.allclose(contrast, 0.6 * x + 0.4 * mean, atol=1e-5)
    assert torch.allclose(saturated, 0.6 * x + 0.4 * to_gray(x), atol=1e-5)


STRONG = Augment(
    jitter_probability=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.4,
    gray_probability=0.2,
    rotation_degrees=10.0,
    blur_probability=0.5,
)


def test_parameters_are_applied_in_the_stated_order_and_clips_are_independent() -> None:
    draws = [
        sample_augment(STRONG, height=20, width=30, rng=np.random.default_rng(s)) for s in range(8)
    ]
    clips = [torch.from_numpy(_cut(_clip(s), d)) for s, d in enumerate(draws)]
    together = apply_augment(clips, draws, size_pixels=16, device=CPU)
    for clip, draw, found in zip(clips, draws, together, strict=True):
        step = resize_clips([clip], [draw.flip], size_pixels=16).permute(0, 4, 1, 2, 3) / 255
        step = rotate(step, torch.tensor([draw.degrees]))
        step = apply_colour(step, **colour_values([draw]))
        step = blur(step, torch.tensor([draw.blur_sigma]))
        assert torch.allclose(denormalize(found[None]), step, atol=1e-5)


def test_rotation_and_blur_are_drawn_from_their_ranges_and_only_if_the_recipe_has_them() -> None:
    rng = np.random.default_rng(0)
    draws = [sample_augment(STRONG, height=20, width=30, rng=rng) for _ in range(400)]
    degrees, sigmas = np.array([d.degrees for d in draws]), np.array([d.blur_sigma for d in draws])
    assert np.abs(degrees).max() <= 10 and degrees.min() < -9 and degrees.max() > 9
    assert (
        150 < (sigmas > 0).sum() < 250
        and sigmas[sigmas > 0].min() >= 0.1
        and 1.8 < sigmas.max() <= 2
    )
    plain = sample_augment(TASKS["rspnet"].augment, height=20, width=30, rng=rng)
    assert (plain.degrees, plain.blur_sigma) == (0.0, 0.0)


def test_the_drawn_numbers_of_a_recipe_stay_as_they_are() -> None:
    """A change here changes every result that a seed gives: RECIPE_VERSION then has to rise."""
    draw = sample_augment(
        TASKS["rspnet"].augment, height=128, width=170, rng=np.random.default_rng(7)
    )
    assert draw.box == (10, 5, 116, 146) and (draw.flip, draw.gray) == (True, False)
    found = [draw.brightness, draw.contrast, draw.saturation, draw.hue]
    assert np.allclose(found, [1.277720197, 1.111773734, 1.193416758, -0.326803516], atol=1e-8)


@pytest.mark.parametrize(
    ("height", "width", "boxes"),
    [
        (128, 171, [(8, 0, 112, 112), (8, 29, 112, 112), (8, 59, 112, 112)]),
        (171, 128, [(0, 8, 112, 112), (29, 8, 112, 112), (59, 8, 112, 112)]),
        (128, 128, [(8, 0, 112, 112), (8, 8, 112, 112), (8, 16, 112, 112)]),
    ],
)
def test_three_crops_lie_at_the_start_middle_and_end_of_the_long_side(
    height: int, width: int, boxes: list[tuple[int, ...]]
) -> None:
    rng = np.random.default_rng(0)
    draws = [
        sample_augment(THREE_CROPS, height=height, width=width, rng=rng, draw_number=number)
        for number in range(3)
    ]
    assert [draw.box for draw in draws] == boxes and not any(draw.flip for draw in draws)
