"""Augmentation parameters of clips: drawn on the host, all clips of a batch at once.

Axes: N draws, K=10 tries of a crop.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdbatch.run.data.clip_reader import Box
from kdbatch.vocab.views import Augment

_CROP_TRIES = 10
_NUM_SWITCHES, _NUM_FACTORS = 3, 4


class AugmentParams(NamedTuple):
    """Augmentation parameters of one clip.

    `box` is top, left, height, width in stored pixels. Colour factors of 1, 1, 1 and a hue of 0
    change nothing. `degrees` rotate counter-clockwise; `blur_sigma` is in output pixels, 0 for no
    blur.
    """

    box: Box
    flip: bool
    gray: bool
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    degrees: float = 0.0
    blur_sigma: float = 0.0


def sample_augment(
    augment: Augment, *, height: int, width: int, rng: np.random.Generator, draw_number: int = 0
) -> AugmentParams:
    """Draw the parameters of one clip whose stored frames are `height` x `width`.

    `draw_number` counts the draws of one video: it selects one of three fixed crops where
    `augment.crop` is "three".
    """
    (params,) = sample_augments(augment, [(height, width)], [draw_number], rng)
    return params


def sample_augments(
    augment: Augment,
    sizes: Sequence[tuple[int, int]],
    draw_numbers: Sequence[int],
    rng: np.random.Generator,
) -> list[AugmentParams]:
    """`sample_augment` for several clips, whose stored frames have `sizes` (height, width).

    The draws are those of one clip after the other. How many random numbers a clip takes does not
    depend on their values.
    """
    height_N, width_N = np.array(sizes, np.int64).reshape(-1, 2).T
    number_N = np.array(draw_numbers, np.int64)
    num_others = _NUM_SWITCHES + _NUM_FACTORS + _num_rotation(augment) + _num_blur(augment)
    if augment.crop == "random-resized":
        random_NX = rng.random((len(sizes), 4 * _CROP_TRIES + num_others))
        try_NK4 = random_NX[:, : 4 * _CROP_TRIES].reshape(-1, _CROP_TRIES, 4)
        box_N4 = _random_resized_boxes(augment, height_N, width_N, try_NK4)
        other_NX = random_NX[:, 4 * _CROP_TRIES :]
    elif augment.crop == "random":
        side_N = _square_sides(augment, height_N, width_N)
        box_N4, other_NX = _random_boxes(height_N, width_N, side_N, num_others, rng)
    else:
        other_NX = rng.random((len(sizes), num_others))
        if augment.crop == "three":
            box_N4 = _three_crop_boxes(height_N, width_N, number_N)
        else:
            box_N4 = _center_boxes(augment, height_N, width_N)
    return [
        AugmentParams((top, left, h, w), *others)
        for (top, left, h, w), *others in zip(
            box_N4.tolist(), *_other_columns(augment, other_NX), strict=True
        )
    ]


def _num_rotation(augment: Augment) -> int:
    return 1 if augment.rotation_degrees else 0


def _num_blur(augment: Augment) -> int:
    return 2 if augment.blur_probability else 0


def _other_columns(augment: Augment, random_NX: np.ndarray) -> list[list]:
    """The fields of AugmentParams after the box, as columns, from uniform numbers."""
    flip_N, gray_N, is_jittered_N = (
        random_NX[:, :_NUM_SWITCHES]
        < (augment.flip_probability, augment.gray_probability, augment.jitter_probability)
    ).T
    columns = [flip_N, gray_N]
    colour_NX = random_NX[:, _NUM_SWITCHES:]
    for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        strength_N = getattr(augment, name) * is_jittered_N
        low_N, high_N = -strength_N, strength_N
        if name != "hue":
            low_N, high_N = np.maximum(0.0, 1 - strength_N), 1 + strength_N
        columns.append(_between(low_N, high_N, colour_NX[:, number]))
    rest_NX = colour_NX[:, _NUM_FACTORS:]
    zero_N = np.zeros(len(random_NX))
    degrees = augment.rotation_degrees
    columns.append(_between(-degrees, degrees, rest_NX[:, 0]) if degrees else zero_N)
    if augment.blur_probability:
        chance_N, sigma_N = rest_NX[:, -2:].T
        sigma_N = _between(augment.min_blur_sigma, augment.max_blur_sigma, sigma_N)
        columns.append(np.where(chance_N < augment.blur_probability, sigma_N, 0.0))
    else:
        columns.append(zero_N)
    return [column.tolist() for column in columns]


def _between(low: np.ndarray | float, high: np.ndarray | float, random_N: np.ndarray) -> np.ndarray:
    """Uniform numbers between `low` and `high`."""
    return low + (high - low) * random_N


def _square_sides(augment: Augment, height_N: np.ndarray, width_N: np.ndarray) -> np.ndarray:
    short_N = np.minimum(height_N, width_N)
    return np.maximum(1, np.rint(short_N * augment.square_side).astype(np.int64))


def _center_boxes(augment: Augment, height_N: np.ndarray, width_N: np.ndarray) -> np.ndarray:
    side_N = _square_sides(augment, height_N, width_N)
    return np.stack([(height_N - side_N) // 2, (width_N - side_N) // 2, side_N, side_N], 1)


def _random_boxes(
    height_N: np.ndarray,
    width_N: np.ndarray,
    side_N: np.ndarray,
    num_others: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Squares at random positions, and the `num_others` uniform numbers that follow the two
    integers of each. The two kinds are drawn in turns, so this is a loop.
    """
    corners, others = [], []
    for num_rows, num_columns in zip(
        (height_N - side_N + 1).tolist(), (width_N - side_N + 1).tolist(), strict=True
    ):
        corners.append((rng.integers(num_rows), rng.integers(num_columns)))
        others.append(rng.random(num_others))
    corner_N2 = np.array(corners, np.int64).reshape(-1, 2)
    box_N4 = np.concatenate([corner_N2, side_N[:, None], side_N[:, None]], 1)
    return box_N4, np.array(others).reshape(-1, num_others)


def _random_resized_boxes(
    augment: Augment, height_N: np.ndarray, width_N: np.ndarray, try_NK4: np.ndarray
) -> np.ndarray:
    """The first of ten tries of a random area and aspect ratio that fits into the frame, else the
    centre: Szegedy et al. 2015, arXiv:1409.4842, as in torchvision.
    """
    area_NK, log_aspect_NK, y_NK, x_NK = np.moveaxis(try_NK4, -1, 0)
    height_N1, width_N1 = height_N[:, None], width_N[:, None]
    share_NK = augment.min_area + area_NK * (augment.max_area - augment.min_area)
    target_NK = height_N1 * width_N1 * share_NK
    aspect_NK = np.exp((2 * log_aspect_NK - 1) * np.log(augment.max_aspect))
    h_NK = np.rint(np.sqrt(target_NK / aspect_NK)).astype(np.int64)
    w_NK = np.rint(np.sqrt(target_NK * aspect_NK)).astype(np.int64)
    fits_NK = (h_NK > 0) & (h_NK <= height_N1) & (w_NK > 0) & (w_NK <= width_N1)
    top_NK = (y_NK * (height_N1 - h_NK + 1)).astype(np.int64)
    left_NK = (x_NK * (width_N1 - w_NK + 1)).astype(np.int64)
    box_NK4 = np.stack([top_NK, left_NK, h_NK, w_NK], -1)
    first_box_N4 = box_NK4[np.arange(len(box_NK4)), fits_NK.argmax(1)]
    is_found_N1 = fits_NK.any(1)[:, None]
    return np.where(is_found_N1, first_box_N4, _center_boxes(augment, height_N, width_N))


def _three_crop_boxes(
    height_N: np.ndarray, width_N: np.ndarray, number_N: np.ndarray
) -> np.ndarray:
    """The one of three squares along the long side that each number selects, as in the tests of
    Qian et al. 2021, arXiv:2008.03800; the side is 7/8 of the short side (112 of 128 pixels).
    """
    short_N, long_N = np.minimum(height_N, width_N), np.maximum(height_N, width_N)
    side_N = np.rint(short_N * 7 / 8).astype(np.int64)
    middle_N, along_N = (short_N - side_N) // 2, (long_N - side_N) * (number_N % 3) // 2
    is_wide_N = width_N >= height_N
    top_N = np.where(is_wide_N, middle_N, along_N)
    left_N = np.where(is_wide_N, along_N, middle_N)
    return np.stack([top_N, left_N, side_N, side_N], 1)
