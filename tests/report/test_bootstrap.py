import numpy as np
import pytest

from kdbatch.report.bootstrap import SeedDraws, interval, resample, t_interval, t_quantile


def pair(num_videos: int, only_a: int, only_b: int, both: int) -> dict[str, np.ndarray]:
    """Two runs that are right on `both` videos together and on some alone."""
    a, b = np.zeros(num_videos), np.zeros(num_videos)
    a[: both + only_a] = 1
    b[:both] = 1
    b[both + only_a : both + only_a + only_b] = 1
    return {"a": a, "b": b}


def test_a_paired_interval_is_that_of_the_normal_approximation() -> None:
    n, gained, lost = 2000, 260, 100
    found = resample(pair(n, gained, lost, 1000), rng=np.random.default_rng(0), num_replicates=4000)
    low, high = interval(found.replicates["a"] - found.replicates["b"])
    p, q = gained / n, lost / n
    half = 100 * 1.959964 * np.sqrt((p + q - (p - q) ** 2) / n)  # variance of a difference of paired shares (McNemar)
    assert found.point["a"] - found.point["b"] == pytest.approx(8.0)
    assert (low, high) == (pytest.approx(8.0 - half, abs=0.15), pytest.approx(8.0 + half, abs=0.15))


def test_pairing_narrows_the_interval_of_runs_that_err_alike() -> None:
    found = resample(pair(1000, 50, 10, 500), rng=np.random.default_rng(0))
    low, high = interval(found.replicates["a"] - found.replicates["b"])
    shuffled = np.random.default_rng(1).permutation(found.replicates["b"])
    wide_low, wide_high = interval(found.replicates["a"] - shuffled)
    assert high - low < 0.5 * (wide_high - wide_low)


def test_equal_runs_differ_by_nothing() -> None:
    found = resample(pair(100, 0, 0, 40), rng=np.random.default_rng(0))
    assert interval(found.replicates["a"] - found.replicates["b"]) == (0.0, 0.0)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_seeds_are_drawn_with_the_variance_of_a_mean_of_seeds(num_seeds: int) -> None:
    values = np.random.default_rng(2).normal(size=num_seeds)
    draws = SeedDraws(rng=np.random.default_rng(3), num_replicates=40_000)
    drawn = draws.mean({s: np.full(40_000, v) for s, v in enumerate(values)})
    assert drawn.var() == pytest.approx(values.var(ddof=1) / num_seeds, rel=0.05)


def test_roles_with_the_same_seeds_take_the_same_draws() -> None:
    draws = SeedDraws(rng=np.random.default_rng(3))
    teacher = draws.mean({0: np.full(2000, 1.0), 1: np.full(2000, 5.0)})
    student = draws.mean({0: np.full(2000, 2.0), 1: np.full(2000, 6.0)})
    assert set(np.unique(student - teacher)) == {1.0} and len(np.unique(teacher)) == 2


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (4, 2.7764), (30, 2.0423)])  # printed tables of Student's t
def test_t_quantiles_are_those_of_printed_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, abs=1e-4)


def test_one_seed_has_no_interval() -> None:
    assert t_interval([1.0]) is None
    assert t_interval([1.0, 2.0, 3.0]) == (pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3), pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3))
