from itertools import combinations, pairwise

import numpy as np
import pytest

from kdbatch.run.cka.block_structure import (
    best_segments,
    describe_blocks,
    longest_run,
    run_share,
    split_by_distance,
    variance_shares,
)

NUM_LAYERS = 60
PLACE = np.arange(NUM_LAYERS)
DISTANCE = np.abs(np.subtract.outer(PLACE, PLACE))
KINDS = [("conv", "bn", "relu")[i % 3] for i in PLACE]
SAME_KIND = DISTANCE % 3 == 0


def segmented(cuts: tuple[int, ...], *, inside: float, outside: float) -> np.ndarray:
    segment = np.searchsorted(cuts, PLACE, side="right")
    return np.where(np.equal.outer(segment, segment), inside, outside)


def noisy(value_LL: np.ndarray) -> np.ndarray:
    noise_LL = np.random.default_rng(0).normal(0, 0.01, value_LL.shape)
    value_LL = value_LL + (noise_LL + noise_LL.T) / 2
    np.fill_diagonal(value_LL, 1.0)
    return value_LL


def describe(value_LL: np.ndarray, *, num_surrogates: int = 20, seed: int = 1):
    return describe_blocks(
        value_LL, KINDS, rng=np.random.default_rng(seed), num_surrogates=num_surrogates
    )


BLOCKS = segmented((5, 45), inside=0.95, outside=0.45)
# a 60-layer map: its block index, grid share, block share
KNOWN = {
    "smooth band": (np.exp(-DISTANCE / 20), 0.001, 0.0, 0.0),
    "three blocks": (BLOCKS, 0.121, 0.0, 0.67),
    "grid of period 3": (np.exp(-DISTANCE / 60) * np.where(SAME_KIND, 1, 0.56), 0.001, 0.65, 0.0),
    "flat": (np.full(BLOCKS.shape, 0.9), 0.0, 0.0, 0.01),
    "blocks times grid": (
        segmented((5, 45), inside=0.95, outside=0.475) * np.where(SAME_KIND, 1, 0.8),
        0.113,
        0.09,
        0.61,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_bands_blocks_and_grids_are_told_apart(name):
    value_LL, block_index, grid_share, block_share = KNOWN[name]
    found = describe(noisy(value_LL))
    assert found.block_index == pytest.approx(block_index, abs=0.005)
    assert found.grid_share == pytest.approx(grid_share, abs=0.02)
    assert found.block_share == pytest.approx(block_share, abs=0.03)


@pytest.mark.parametrize("name", KNOWN)
def test_only_blocks_stand_out_from_shuffled_residuals(name):
    found = describe(noisy(KNOWN[name][0]), num_surrogates=100)
    assert found.block_index_z is not None
    assert (found.block_index_z > 10) == ("blocks" in name)
    assert abs(found.block_index_z) < 4 or "blocks" in name


def test_segments_are_found_where_they_are():
    found = describe(noisy(BLOCKS))
    assert (found.num_segments, found.starts) == (3, (0, 5, 45))


def test_a_high_flat_map_is_one_run_yet_no_block():
    found = describe(noisy(KNOWN["flat"][0]))
    assert (found.run_80, found.run_95) == (1.0, 0.0)
    assert found.block_index < 0.001


def test_a_map_of_distance_alone_has_index_and_z_of_zero():
    found = describe(1.0 - DISTANCE / 128)  # exact in binary
    assert (found.block_index, found.block_index_z, found.num_segments) == (0.0, 0.0, 1)


def test_a_constant_map_has_no_variance_to_share():
    found = describe(np.ones(BLOCKS.shape))
    assert (found.grid_share, found.block_share, found.run_95) == (0.0, 0.0, 1.0)


def test_the_best_segments_are_those_that_trying_all_finds():
    rng = np.random.default_rng(5)
    for _ in range(10):
        value_LL = rng.random((8, 8))
        _, residual_LL = split_by_distance(value_LL + value_LL.T)
        np.fill_diagonal(residual_LL, 0)
        sums = []
        for num_cuts in range(6):
            for cuts in combinations(range(1, 8), num_cuts):
                edges = (0, *cuts, 8)
                sums.append(sum(residual_LL[a:b, a:b].sum() for a, b in pairwise(edges)))
        starts, inside = best_segments(residual_LL)
        edges = (*starts, 8)
        assert inside == pytest.approx(max(sums))
        assert inside == pytest.approx(sum(residual_LL[a:b, a:b].sum() for a, b in pairwise(edges)))
        assert len(starts) <= 6


def test_the_longest_run_is_the_one_that_trying_all_finds():
    rng = np.random.default_rng(6)
    for level in (0.2, 0.5, 0.8):
        value_LL = rng.random((12, 12)) ** 0.3
        value_LL = np.minimum(value_LL, value_LL.T)
        runs = [
            b - a
            for a in range(12)
            for b in range(a + 2, 13)
            if value_LL[a:b, a:b][~np.eye(b - a, dtype=bool)].min() >= level
        ]
        start, stop = longest_run(value_LL, level)
        assert stop - start == max(runs, default=0)
        assert run_share(value_LL, level) == (stop - start) / 12


def test_residuals_of_every_distance_sum_to_zero():
    _, residual_LL = split_by_distance(noisy(BLOCKS))
    assert all(abs(np.diagonal(residual_LL, d).sum()) < 1e-12 for d in range(NUM_LAYERS))


def test_layers_of_one_kind_make_no_grid():
    grid_share, _ = variance_shares(
        noisy(BLOCKS), ["conv"] * NUM_LAYERS, np.ones(BLOCKS.shape, dtype=bool)
    )
    assert grid_share == pytest.approx(0.0, abs=1e-12)


def test_the_same_generator_gives_the_same_z():
    assert describe(noisy(BLOCKS), seed=3) == describe(noisy(BLOCKS), seed=3)
    assert (
        describe(noisy(BLOCKS), seed=3).block_index_z
        != describe(noisy(BLOCKS), seed=4).block_index_z
    )


def test_drops_are_what_segments_lose_without_their_first_components_or_loudest_clips():
    rng = np.random.default_rng(0)
    found = describe(BLOCKS)
    assert (found.pc1_drop, found.loud_drop) == (None, None)
    apart_LL = segmented(
        (5, 45), inside=0.0, outside=0.3
    )  # what layers of different segments lose does not count
    found = describe_blocks(
        BLOCKS,
        KINDS,
        rng=rng,
        num_surrogates=5,
        deflated_LL=BLOCKS - 0.25 - apart_LL,
        without_outliers_LL=BLOCKS - 0.125,
    )
    assert (found.pc1_drop, found.loud_drop) == (pytest.approx(0.25), pytest.approx(0.125))


def test_six_layers_are_enough():
    found = describe_blocks(BLOCKS[2:8, 2:8], ["residual"] * 6, rng=np.random.default_rng(0))
    assert found.starts == (0, 3)
    assert found.block_index_z is not None
    numbers = [found.block_index, found.block_index_z, found.grid_share, found.block_share]
    assert np.isfinite(numbers).all()
