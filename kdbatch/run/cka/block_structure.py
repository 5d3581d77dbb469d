"""Block structure of a self-similarity map: numbers for blocks and grids otherwise judged by eye.

Axes: L layers, S surrogates.

The phenomenon: Nguyen et al. 2021, arXiv:2010.15327, and 2022, arXiv:2202.07184, contiguous layers
that are nearly the same. A grid is another thing: residual networks alternate between branch and
merged layers (Kornblith et al. 2019, arXiv:1905.00414, sec. 6). Both papers show maps; the numbers
here are ours:

R = C minus the mean of C at the same distance |i - j|: the part of a map beyond "near layers are
alike". The block index is the largest sum of R inside contiguous segments, at most 6, over the sum
of |C|; pairs i = j are left out everywhere. Its z-score is against maps whose residuals are
shuffled within each diagonal. The variance of C is attributed in turn to distance, kinds of layers
(grid share) and segments (block share).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_SEGMENTS = 6
RUN_LEVELS = (0.8, 0.9, 0.95)
DISTANCE_DEGREE = 5  # of the polynomial in |i - j| that models "near layers are alike"
SURROGATES_AT_ONCE = 25  # 4 MB of prefix sums for 143 layers


@dataclass(frozen=True, kw_only=True)
class BlockStructure:
    """Numbers of one self map.

    `run_80`, `run_90` and `run_95` are the longest runs of layers that are pairwise at least so
    similar, as shares of all layers; a single layer is no run. A high overall level makes runs long
    (a flat map at 0.9 is one run at 0.8), so read them together with `block_index`. `starts` are
    the first layers of the segments. `pc1_drop` is the mean similarity within segments, minus the
    same without each layer's first principal component; `loud_drop`, minus the same without the
    clips of highest norm; None where that map was not given. `block_index_z` is None without
    surrogates.
    """

    block_index: float
    block_index_z: float | None
    num_segments: int
    starts: tuple[int, ...]
    run_80: float
    run_90: float
    run_95: float
    grid_share: float
    block_share: float
    pc1_drop: float | None
    loud_drop: float | None


def describe_blocks(
    value_LL: np.ndarray,
    kinds: Sequence[str],
    *,
    rng: np.random.Generator,
    num_surrogates: int = 200,
    deflated_LL: np.ndarray | None = None,
    without_outliers_LL: np.ndarray | None = None,
) -> BlockStructure:
    """Measure a symmetric map of layers of the given kinds.

    `deflated_LL` is the map without first principal components, `without_outliers_LL` the one
    without the clips of highest norm.
    """
    num_layers = len(kinds)
    assert value_LL.shape == (num_layers, num_layers) and num_layers >= 3
    assert np.isfinite(value_LL).all()
    value_LL = (value_LL + value_LL.T) / 2
    mean_LL, residual_LL = split_by_distance(value_LL)
    starts, inside = best_segments(residual_LL)
    index = float(inside / _off_diagonal_sum(np.abs(value_LL)))
    surrogate_S = _surrogate_indices(mean_LL, residual_LL, rng=rng, num_surrogates=num_surrogates)
    same_LL = _same_segment(starts, num_layers)
    grid_share, block_share = variance_shares(value_LL, kinds, same_LL)
    run_80, run_90, run_95 = (run_share(value_LL, level) for level in RUN_LEVELS)
    return BlockStructure(
        block_index=index,
        block_index_z=_z(index, surrogate_S) if num_surrogates else None,
        num_segments=len(starts),
        starts=starts,
        run_80=run_80,
        run_90=run_90,
        run_95=run_95,
        grid_share=grid_share,
        block_share=block_share,
        pc1_drop=None if deflated_LL is None else _mean_within(value_LL - deflated_LL, same_LL),
        loud_drop=None
        if without_outliers_LL is None
        else _mean_within(value_LL - without_outliers_LL, same_LL),
    )


def split_by_distance(value_LL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean at each distance |i - j|, as a map, and the residual."""
    distance_LL = _distances(len(value_LL))
    total_L = np.bincount(distance_LL.ravel(), weights=value_LL.ravel())
    mean_LL = (total_L / np.bincount(distance_LL.ravel()))[distance_LL]
    return mean_LL, value_LL - mean_LL


def best_segments(residual_LL: np.ndarray) -> tuple[tuple[int, ...], float]:
    """First layers of the contiguous segments with the largest sum of residuals, and that sum.

    Where sums are equal, the cut with the fewest segments is returned.
    """
    gain_LL = _segment_sums(residual_LL)
    best_KL, cut_KL = _partition(gain_LL[None])
    num_segments = int(np.argmax(best_KL[:, 0, -1])) + 1
    stop, starts = len(residual_LL), []
    for k in range(num_segments - 1, -1, -1):
        stop = int(cut_KL[k, 0, stop])
        starts.append(stop)
    return tuple(reversed(starts)), float(best_KL[num_segments - 1, 0, -1])


def longest_run(value_LL: np.ndarray, level: float) -> tuple[int, int]:
    """(start, stop) of the longest run of layers of which every pair is at `level` or above.

    (0, 0) where no two neighbours are.
    """
    best, start = (0, 0), 0
    for stop in range(1, len(value_LL) + 1):
        below = np.flatnonzero(value_LL[start : stop - 1, stop - 1] < level)
        start += int(below[-1]) + 1 if len(below) else 0
        if stop - start > max(1, best[1] - best[0]):
            best = (start, stop)
    return best


def run_share(value_LL: np.ndarray, level: float) -> float:
    """Length of the longest run as a share of all layers."""
    start, stop = longest_run(value_LL, level)
    return (stop - start) / len(value_LL)


def variance_shares(
    value_LL: np.ndarray, kinds: Sequence[str], same_LL: np.ndarray
) -> tuple[float, float]:
    """Variance explained by kinds of layers, beyond distance, and by segments, beyond both.

    They are increments of R squared over pairs i < j.
    """
    i_P, j_P = np.triu_indices(len(value_LL), k=1)
    target_P = value_LL[i_P, j_P]
    distance_P = 2.0 * (j_P - i_P) / len(value_LL) - 1.0
    _, code_L = np.unique(np.asarray(kinds), return_inverse=True)
    low_P, high_P = np.minimum(code_L[i_P], code_L[j_P]), np.maximum(code_L[i_P], code_L[j_P])
    _, pair_P = np.unique(low_P * len(value_LL) + high_P, return_inverse=True)
    smooth = np.polynomial.legendre.legvander(distance_P, min(DISTANCE_DEGREE, len(value_LL) - 2))
    grid = np.hstack([smooth, np.eye(pair_P.max() + 1)[pair_P]])
    blocks = np.hstack([grid, same_LL[i_P, j_P, None].astype(float)])
    explained = [_r_squared(design, target_P) for design in (smooth, grid, blocks)]
    return explained[1] - explained[0], explained[2] - explained[1]


def _r_squared(design_PF: np.ndarray, target_P: np.ndarray) -> float:
    centred_P = target_P - target_P.mean()
    total = centred_P @ centred_P
    if total <= 1e-20 * (target_P @ target_P):
        return 0.0  # a map without variance has none to explain
    weights_F, *_ = np.linalg.lstsq(design_PF, centred_P, rcond=None)
    rest_P = centred_P - design_PF @ weights_F
    return float(1.0 - rest_P @ rest_P / total)


def _partition(gain_SLL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best sum of the first b layers in exactly k segments, and the last segment's first layer.

    Both have shape (K, S, L + 1).
    """
    num_maps, num_cuts, _ = gain_SLL.shape
    num_segments = min(MAX_SEGMENTS, num_cuts - 1)
    best_KSL = np.full((num_segments, num_maps, num_cuts), -np.inf)
    cut_KSL = np.zeros((num_segments, num_maps, num_cuts), dtype=int)
    best_KSL[0] = gain_SLL[:, 0]
    for k in range(1, num_segments):
        total_SLL = best_KSL[k - 1][:, :, None] + gain_SLL
        cut_KSL[k] = total_SLL.argmax(1)
        best_KSL[k] = np.take_along_axis(total_SLL, cut_KSL[k][:, None], axis=1)[:, 0]
    return best_KSL, cut_KSL


def _segment_sums(residual_LL: np.ndarray) -> np.ndarray:
    """Sum of residuals over pairs within layers a..b-1 at [..., a, b]; minus infinity if b <= a.

    Works on stacks of maps.
    """
    num_layers = residual_LL.shape[-1]
    prefix = np.zeros((*residual_LL.shape[:-2], num_layers + 1, num_layers + 1))
    hollow = residual_LL * ~np.eye(num_layers, dtype=bool)
    np.cumsum(np.cumsum(hollow, axis=-2), axis=-1, out=prefix[..., 1:, 1:])
    diagonal = np.diagonal(prefix, axis1=-2, axis2=-1)
    sums = diagonal[..., None, :] + diagonal[..., :, None] - 2 * prefix
    return np.where(np.triu(np.ones(sums.shape[-2:], dtype=bool), k=1), sums, -np.inf)


def _z(index: float, surrogate_S: np.ndarray) -> float:
    spread = float(surrogate_S.std())
    return (index - float(surrogate_S.mean())) / spread if spread > 0 else 0.0


def _surrogate_indices(
    mean_LL: np.ndarray, residual_LL: np.ndarray, *, rng: np.random.Generator, num_surrogates: int
) -> np.ndarray:
    """Block indices of maps whose residuals are shuffled within each distance, with equal means."""
    i_P, j_P = np.triu_indices(len(mean_LL), k=1)
    order = np.argsort(j_P - i_P, kind="stable")
    i_P, j_P = i_P[order], j_P[order]
    residual_P, index_S = residual_LL[i_P, j_P], [np.empty(0)]
    for start in range(0, num_surrogates, SURROGATES_AT_ONCE):
        num_maps = min(SURROGATES_AT_ONCE, num_surrogates - start)
        # Sorted by distance, in a random order within each distance.
        shuffled_SP = np.argsort((j_P - i_P) + rng.random((num_maps, len(i_P))), axis=1)
        map_SLL = np.zeros((num_maps, *mean_LL.shape))
        map_SLL[:, i_P, j_P] = map_SLL[:, j_P, i_P] = residual_P[shuffled_SP]
        best_KSL, _ = _partition(_segment_sums(map_SLL))
        index_S.append(best_KSL[:, :, -1].max(0) / _off_diagonal_sum(np.abs(mean_LL + map_SLL)))
    return np.concatenate(index_S)


def _same_segment(starts: Sequence[int], num_layers: int) -> np.ndarray:
    segment_L = np.searchsorted(starts, np.arange(num_layers), side="right")
    return segment_L[:, None] == segment_L


def _mean_within(value_LL: np.ndarray, same_LL: np.ndarray) -> float:
    pairs = same_LL & ~np.eye(len(value_LL), dtype=bool)
    return float(value_LL[pairs].mean()) if pairs.any() else 0.0


def _off_diagonal_sum(value_LL: np.ndarray) -> np.ndarray:
    return value_LL.sum((-2, -1)) - np.trace(value_LL, axis1=-2, axis2=-1)


def _distances(num_layers: int) -> np.ndarray:
    return np.abs(np.subtract.outer(np.arange(num_layers), np.arange(num_layers)))
