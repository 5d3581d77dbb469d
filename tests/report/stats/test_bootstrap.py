import tracemalloc

import numpy as np
import pytest

from kdbatch.report.stats.arms import Arm
from kdbatch.report.stats.bootstrap import (
    SeedDraws,
    SeedSpread,
    percentile_interval,
    resample,
    t_interval,
    t_quantile,
    t_tail,
    wilson_interval,
)
from kdbatch.report.stats.comparisons import compare_arms


def spread_of(*values: float) -> SeedSpread:
    deviation = float(np.std(values, ddof=1))
    return SeedSpread(
        seeds=tuple(range(len(values))), deviation=deviation, degrees=len(values) - 1.0
    )


def two_runs(num_videos: int, only_a: int, only_b: int, both: int) -> dict[str, np.ndarray]:
    """Return the correctness of runs a and b, which are both right on `both` videos."""
    a, b = np.zeros(num_videos), np.zeros(num_videos)
    a[: both + only_a] = 1
    b[:both] = 1
    b[both + only_a : both + only_a + only_b] = 1
    return {"a": a, "b": b}


def test_seeds_of_an_arm_take_no_memory_of_their_own() -> None:
    """The replicates of 20,000 runs were more than a gigabyte as numbers of double precision."""
    correct = {f"r{m}": np.arange(60) % (m + 2) == 0 for m in range(200)}
    tracemalloc.start()
    replicates = resample(correct, seed=0).replicates
    replicates.mean_of(correct)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20 * 10_000


def test_a_mean_of_replicates_is_that_of_the_runs_each_as_often_as_it_is_named() -> None:
    replicates = resample(two_runs(40, 4, 3, 20), seed=0).replicates
    a_R, b_R = replicates["a"], replicates["b"]
    assert np.allclose(replicates.mean_of(["a", "b", "b"]), (a_R + 2 * b_R) / 3, atol=1e-12)


def test_means_that_are_expected_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    replicates = resample(two_runs(40, 4, 3, 20), seed=0).replicates
    replicates.expect([["a"], ["b"], ["a", "b"], ["a", "of no test set"]])
    replicates.mean_of(["b", "a"])  # which was not expected, nor forgets those that were
    monkeypatch.setattr(np.random, "default_rng", None)
    assert np.allclose(replicates.mean_of(["a", "b"]), (replicates["a"] + replicates["b"]) / 2)


def test_a_paired_interval_is_that_of_the_normal_approximation() -> None:
    n, gained, lost = 2000, 260, 100
    found = resample(two_runs(n, gained, lost, 1000), seed=0, num_replicates=4000)
    low, high = percentile_interval(found.replicates["a"] - found.replicates["b"])
    p, q = gained / n, lost / n
    # Variance of a difference of paired shares (McNemar).
    half = 100 * 1.959964 * np.sqrt((p + q - (p - q) ** 2) / n)
    assert found.accuracy["a"] - found.accuracy["b"] == pytest.approx(8.0)
    assert (low, high) == (pytest.approx(8.0 - half, abs=0.15), pytest.approx(8.0 + half, abs=0.15))


def test_pairing_narrows_the_interval_of_runs_that_err_alike() -> None:
    found = resample(two_runs(1000, 50, 10, 500), seed=0)
    low, high = percentile_interval(found.replicates["a"] - found.replicates["b"])
    shuffled = np.random.default_rng(1).permutation(found.replicates["b"])
    wide_low, wide_high = percentile_interval(found.replicates["a"] - shuffled)
    assert high - low < 0.5 * (wide_high - wide_low)


def test_equal_runs_differ_by_nothing() -> None:
    found = resample(two_runs(100, 0, 0, 40), seed=0)
    assert percentile_interval(found.replicates["a"] - found.replicates["b"]) == (0.0, 0.0)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_errors_of_seeds_have_the_interval_of_students_t(num_seeds: int) -> None:
    values = dict(enumerate(np.random.default_rng(2).normal(size=num_seeds)))
    errors = SeedDraws().errors(spread_of(*values.values()))
    expected = t_interval(list(values.values()))
    assert expected is not None
    assert percentile_interval(errors + np.mean(list(values.values()))) == pytest.approx(
        expected, rel=0.02, abs=0.02
    )


def test_the_same_seeds_get_the_same_errors_and_one_seed_gets_none() -> None:
    draws = SeedDraws()
    wide, narrow = draws.errors(spread_of(1.0, 5.0)), draws.errors(spread_of(2.0, 4.0))
    assert np.allclose(wide, 2 * narrow)
    assert not draws.errors(SeedSpread(seeds=(0,), deviation=0.0, degrees=0.0)).any()


def test_errors_do_not_depend_on_what_was_drawn_before() -> None:
    spread, draws = spread_of(1.0, 5.0), SeedDraws()
    draws.errors(spread_of(1.0, 2.0, 4.0))
    assert np.array_equal(draws.errors(spread), SeedDraws().errors(spread))


def test_videos_of_one_group_are_drawn_together() -> None:
    """Four copies of each of 100 videos tell no more than one of each."""
    once_N = np.random.default_rng(5).random(100) < 0.6
    copies = {"a": np.repeat(once_N, 4)}
    groups = [f"g{i // 4:02d}" for i in range(400)]
    single = resample({"a": once_N}, seed=0)
    grouped = resample(copies, groups=groups, seed=0)
    apart = resample(copies, seed=0)
    assert grouped.num_groups == {"a": 100} and grouped.num_videos == {"a": 400}
    assert np.allclose(grouped.replicates["a"], single.replicates["a"])
    assert apart.replicates["a"].std() == pytest.approx(grouped.replicates["a"].std() / 2, rel=0.05)


def test_a_replicate_is_a_share_of_the_videos_of_the_groups_that_were_drawn() -> None:
    """Two groups, of one and of three videos: a replicate has 2, 4 or 6 videos."""
    found = resample(
        {"a": np.array([True, False, False, True])},
        groups=["x", "y", "y", "y"],
        seed=0,
    )
    assert set(found.replicates["a"].round(4)) == {100.0, 50.0, 33.3333}


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize("spread", [0.0, 6.0])
def test_an_interval_of_95_percent_covers_the_truth_that_often(
    num_seeds: int, spread: float
) -> None:
    """Two roles differ by 4 points on average, and are measured on the same 200 videos.

    `spread` is the standard deviation of one training.
    """
    rng, num_covered, num_trials = np.random.default_rng(4), 0, 400
    values = dict.fromkeys(range(num_seeds), 0.0)
    arms = []
    for title in "ab":
        runs = {seed: f"{title}{seed}" for seed in range(num_seeds)}
        arms.append(Arm(title=title, runs=runs, values=values))
    for _ in range(num_trials):
        hardness_N = rng.random(200)
        correct = {}
        for arm, share in zip(arms, (0.74, 0.70), strict=True):
            for run in arm.runs.values():
                noisy_N = hardness_N + rng.normal(0, 0.05, 200)
                correct[run] = noisy_N < share + rng.normal(0, spread) / 100
        draws = SeedDraws(num_replicates=400)
        resampled = resample(correct, seed=int(rng.integers(2**32)), num_replicates=400)
        found = compare_arms("", {arms[0]: 1.0, arms[1]: -1.0}, resampled, draws)
        assert found is not None and found.low is not None and found.high is not None
        num_covered += found.low <= 4.0 <= found.high
    assert num_covered / num_trials > 0.92


# From printed tables of Student's t.
@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)]
)
def test_t_quantiles_are_those_of_printed_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, abs=1e-4)
    assert t_tail(quantile, degrees) == pytest.approx(0.025, abs=1e-5)
    assert t_tail(-quantile, degrees) == pytest.approx(0.975, abs=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert t_interval([1.0]) is None
    assert t_interval([1.0, 2.0, 3.0]) == (
        pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3),
        pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3),
    )


def test_wilsons_interval_of_all_right_is_not_empty() -> None:
    assert wilson_interval(100.0, 48) == pytest.approx((100 / (1 + 1.96**2 / 48), 100.0))
    assert wilson_interval(50.0, 10) == pytest.approx((23.66, 76.34), abs=0.01)
