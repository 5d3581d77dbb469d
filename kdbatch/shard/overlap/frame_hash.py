"""Perceptual hashes of frames: the signs of a picture's lowest frequencies.

A hash has one bit for each of the 16 x 16 lowest coefficients of the picture's cosine transform:
whether it is positive. Zauner 2010, "Implementation and benchmarking of perceptual image hash
functions", chapter 3.2.1 (8 x 8 of them), and Facebook 2019, "The TMK+PDQF video-hashing algorithm
and the PDQ image-hashing algorithm" (16 x 16). Both compare with the median, which is near 0, and
shrink the picture first. Against 0 a mirrored picture has the same bits, those of odd horizontal
frequencies inverted; and the cosines are sampled where the pixels are, so that pictures of any size
and crops at fractions of a pixel need no scaling.

A coarse hash is the word 0, the 8 x 8 lowest coefficients. Hashes of crops are taken as well
(VIEWS): the hash of a whole picture is then near that of a crop of a larger one.

Axes: T frames, H rows, W columns, V views, 4 words of 64 bits.
"""

from functools import lru_cache

import numpy as np

HASH_VERSION = 1  # raise it when the same frame starts to give other hashes
SIDE, COARSE_SIDE = 16, 8
NUM_BITS, NUM_COARSE_BITS = SIDE**2 - 1, COARSE_SIDE**2 - 1  # the mean is none of them
VIEWS: dict[str, tuple[float, float, float, float]] = {
    "whole": (0, 1, 0, 1),
    "middle 95 %": (0.025, 0.975, 0.025, 0.975),
    "middle 90 %": (0.05, 0.95, 0.05, 0.95),
    "top left 95 %": (0, 0.95, 0, 0.95),
    "top right 95 %": (0, 0.95, 0.05, 1),
    "bottom left 95 %": (0.05, 1, 0, 0.95),
    "bottom right 95 %": (0.05, 1, 0.05, 1),
    "4:3 of 16:9": (0, 1, 0.125, 0.875),
    "top left 90 %": (0, 0.9, 0, 0.9),
    "top right 90 %": (0, 0.9, 0.1, 1),
    "bottom left 90 %": (0.1, 1, 0, 0.9),
    "bottom right 90 %": (0.1, 1, 0.1, 1),
}
"""The part of the picture that a hash is taken of: shares of its rows, then of its columns."""
MIN_CONTRAST = 6.0  # grey levels; below it (fades, black) the signs are those of noise
_WORK_SIDE = 64  # pixels of the short side, to which larger frames are averaged
_BAR_LEVEL = 28  # black is 16 in the limited range, and codecs add noise
_MIN_PICTURE = 0.4  # share of rows or columns that bars must leave


def hash_frames(luma_THW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hashes (T, V, 4) of a video's frames, uint64, and whether each frame has contrast (T).

    `luma_THW` is uint8. Black bars at the borders of the whole video are left out.
    """
    small_THW = _shrunk(_without_bars(luma_THW))
    _, num_rows, num_columns = small_THW.shape
    words = np.empty((len(small_THW), len(VIEWS), 4), np.uint64)
    has_contrast = np.zeros(len(small_THW), bool)
    for view, (top, bottom, left, right) in enumerate(VIEWS.values()):
        row_UH = _cosines(num_rows, top, bottom)
        column_UW = _cosines(num_columns, left, right)
        coefficient_TUU = row_UH @ small_THW @ column_UW.T
        words[:, view] = _packed(coefficient_TUU > 0)
        if view == 0:
            coefficient_TUU[:, 0, 0] = 0
            has_contrast = np.square(coefficient_TUU).sum((1, 2)) >= MIN_CONTRAST**2
    return words, has_contrast


def mirrored(words: np.ndarray) -> np.ndarray:
    """The hashes of the same pictures, mirrored left to right; the last axis has the words."""
    return words ^ _MIRROR_WORDS


def num_different(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of bits in which words differ."""
    return np.bitwise_count(a ^ b)


def _without_bars(luma_THW: np.ndarray) -> np.ndarray:
    """The frames without rows and columns at their borders that are black in all of them."""
    brightest_HW = luma_THW.max(0)
    spans = []
    for brightest in (brightest_HW.max(1), brightest_HW.max(0)):
        lit = np.flatnonzero(brightest > _BAR_LEVEL)
        start, end = (int(lit[0]), int(lit[-1]) + 1) if len(lit) else (0, 0)
        is_picture = end - start >= _MIN_PICTURE * len(brightest)
        spans.append(slice(start, end) if is_picture else slice(None))
    return luma_THW[:, spans[0], spans[1]]


def _shrunk(luma_THW: np.ndarray) -> np.ndarray:
    """The frames, float32, averaged over whole pixels to a short side of 64 or a little more."""
    factor = max(1, min(luma_THW.shape[1:]) // _WORK_SIDE)
    num_frames, height, width = luma_THW.shape
    rows, columns = height // factor, width // factor
    whole = luma_THW[:, : rows * factor, : columns * factor]
    blocks = whole.reshape(num_frames, rows, factor, columns, factor)
    return blocks.mean((2, 4), dtype=np.float32)


@lru_cache(maxsize=256)
def _cosines(num_pixels: int, start: float, end: float) -> np.ndarray:
    """The 16 lowest cosines (U, pixels) of the part of a row from `start` to `end`, as shares.

    A pixel that the part covers in part counts by that share. Scaled so that the squares of all
    coefficients but the first sum to the variance of the picture.
    """
    edges = np.clip(np.arange(num_pixels + 1), start * num_pixels, end * num_pixels)
    size = (end - start) * num_pixels
    centre = ((edges[1:] + edges[:-1]) / 2 - start * num_pixels) / size
    frequency = np.arange(SIDE)[:, None]
    scale = np.where(frequency == 0, 1, np.sqrt(2)) / size
    cosine = np.cos(np.pi * frequency * centre) * np.diff(edges) * scale
    return cosine.astype(np.float32)


def _bit_order() -> np.ndarray:
    """The coefficient of each bit. The coarse ones come first, dealt out from the lowest frequency
    to the four parts of 16 bits by which hashes are looked up, so that each has its share of them.
    """
    row, column = np.divmod(np.arange(SIDE**2), SIDE)
    is_coarse = (row < COARSE_SIDE) & (column < COARSE_SIDE)
    order = np.lexsort((row, row + column, ~is_coarse))
    coarse, fine = order[: COARSE_SIDE**2], order[COARSE_SIDE**2 :]
    return np.concatenate([coarse.reshape(16, 4).T.ravel(), fine])


def _packed(is_positive_TUU: np.ndarray) -> np.ndarray:
    """The bits as words (T, 4); the bit of the mean is 0."""
    bits = is_positive_TUU.reshape(len(is_positive_TUU), -1).copy()
    bits[:, 0] = False
    packed = np.packbits(bits[:, _BIT_ORDER], axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64)


_BIT_ORDER = _bit_order()
_MIRROR_WORDS = _packed(np.broadcast_to(np.arange(SIDE) % 2 == 1, (1, SIDE, SIDE)))[0]
