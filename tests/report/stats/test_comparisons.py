import dataclasses

import numpy as np
import pytest

from kdbatch.report.stats.arms import Arm, Contrast
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws, resample, t_quantile
from kdbatch.report.stats.comparisons import compare_contrasts

SEEDS = (0, 1, 2)


def arm(title: str) -> Arm:
    runs = {seed: f"{title}{seed}" for seed in SEEDS}
    return Arm(title=title, runs=runs, values=dict.fromkeys(SEEDS, 0.0))


def without_videos(accuracy: dict[str, float]) -> Resampled:
    """Accuracies that do not vary over videos, so that an interval is that of the seeds."""
    correct = {run: np.arange(1000) < 10 * value for run, value in accuracy.items()}
    one_group = resample(correct, groups=["g"] * 1000, seed=0)
    return dataclasses.replace(one_group, num_groups=dict.fromkeys(accuracy, 100))


def test_the_degrees_of_freedom_of_a_pool_count_shared_runs() -> None:
    """Three cases with one control: their differences correlate by 1/2.

    9 / (3 + 6 / 4) = 2 independent variances of 2 degrees of freedom each.
    """
    accuracy = {}
    for i, title in enumerate("abcz"):
        for seed, error in zip(SEEDS, (-1.0, 0.0, 1.0), strict=True):
            accuracy[f"{title}{seed}"] = 50.0 - 10 * (title == "z") + i * error
    contrasts = [
        Contrast(label=title, weights={arm(title): 1.0, arm("z"): -1.0}, pool="z")
        for title in "abc"
    ]
    draws = SeedDraws()
    found = compare_contrasts(contrasts, without_videos(accuracy), draws)
    deviation = np.sqrt(np.mean([9.0, 4.0, 1.0]))
    half = float(t_quantile(0.975, 4)) * deviation / 3**0.5
    for comparison in found:
        assert comparison is not None and comparison.low is not None
        assert comparison.effect == pytest.approx(10.0)
        assert comparison.low == pytest.approx(10.0 - half, rel=0.01)


def test_an_average_has_the_degrees_of_freedom_of_all_its_cases() -> None:
    """Four cases without a shared run: the variance of their average is a quarter of a case's,
    known with 4 * 2 degrees of freedom, and not with the 2 of three averages.
    """
    accuracy = {}
    errors = {"a": (-2.0, 0.0, 2.0), "b": (2.0, -2.0, 0.0), "c": (0.0, 2.0, -2.0), "d": (0.0,) * 3}
    for title, by_seed in errors.items():
        for seed, error in zip(SEEDS, by_seed, strict=True):
            accuracy |= {f"{title}{seed}": 50.0 + error, f"z{title}{seed}": 40.0}
    parts = tuple(
        Contrast(label=title, weights={arm(title): 1.0, arm(f"z{title}"): -1.0}, pool="z")
        for title in errors
    )
    weights = {arm: weight / 4 for part in parts for arm, weight in part.weights.items()}
    average = Contrast(label="average", weights=weights, pool="z", parts=parts)
    draws = SeedDraws()
    (found,) = compare_contrasts([average], without_videos(accuracy), draws)
    assert found is not None and found.low is not None
    deviation = np.sqrt(np.mean([4.0, 4.0, 4.0, 0.0]) / 4)
    half = float(t_quantile(0.975, 8)) * deviation / 3**0.5
    assert found.low == pytest.approx(10.0 - half, rel=0.01)


def test_a_single_case_has_the_spread_of_others_of_its_form() -> None:
    accuracy = {f"{title}{seed}": 50.0 for title in "az" for seed in SEEDS}
    accuracy |= {f"y{seed}": 40.0 for seed in SEEDS}
    accuracy |= {f"b{seed}": 50.0 + seed for seed in SEEDS}
    one = Contrast(label="one", weights={arm("a"): 1.0, arm("z"): -1.0}, pool="p")
    other = Contrast(label="other", weights={arm("b"): 1.0, arm("y"): -1.0}, pool="p")
    draws = SeedDraws()
    resampled = without_videos(accuracy)
    (found,) = compare_contrasts([one], resampled, draws, others=[other])
    assert found is not None and found.high is not None
    half = float(t_quantile(0.975, 4)) * (0.5 / 3) ** 0.5
    assert found.high == pytest.approx(half, rel=0.01)
    (unfinished,) = compare_contrasts(
        [one], resampled, draws, others=[Contrast(label="x", weights={arm("x"): 1.0}, pool="p")]
    )
    assert unfinished is not None and unfinished.is_identical


def test_equal_predictions_have_the_interval_of_what_so_few_videos_cannot_show() -> None:
    resampled = without_videos(dict.fromkeys(("a0", "z0"), 50.0))
    first, second = (Arm(title=t, runs={0: f"{t}0"}, values={0: 50.0}) for t in "az")
    contrast = Contrast(label="a", weights={first: 1.0, second: -1.0})
    (found,) = compare_contrasts([contrast], resampled, SeedDraws())
    assert found is not None and found.is_identical and found.effect == 0
    assert found.high == pytest.approx(100 * (1 - 0.05 ** (1 / 100)), abs=0.01)
    assert found.low == pytest.approx(-100 * (1 - 0.05 ** (1 / 100)), abs=0.01)
