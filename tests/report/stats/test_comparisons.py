import numpy as np
import pytest

from kdbatch.report.stats.bootstrap import Replicates, Resampled, SeedDraws, t_quantile
from kdbatch.report.stats.comparisons import Arm, Contrast, compare_contrasts

SEEDS = (0, 1, 2)


def arm(title: str) -> Arm:
    runs = {seed: f"{title}{seed}" for seed in SEEDS}
    return Arm(title=title, runs=runs, values=dict.fromkeys(SEEDS, 0.0))


def without_videos(accuracy: dict[str, float]) -> Resampled:
    """Accuracies that do not vary over videos, so that an interval is that of the seeds."""
    replicates = {run: np.full(10_000, value) for run, value in accuracy.items()}
    videos = dict.fromkeys(accuracy, 100)
    counts = {run: (row_R, np.full(len(row_R), 100.0)) for run, row_R in replicates.items()}
    return Resampled(
        accuracy=accuracy, replicates=Replicates(counts), num_videos=videos, num_groups=videos
    )


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
    draws = SeedDraws(rng=np.random.default_rng(0))
    found = compare_contrasts(contrasts, without_videos(accuracy), draws)
    deviation = np.sqrt(np.mean([9.0, 4.0, 1.0]))
    half = float(t_quantile(0.975, 4)) * deviation / 3**0.5
    for comparison in found:
        assert comparison is not None and comparison.low is not None
        assert comparison.effect == pytest.approx(10.0)
        assert comparison.low == pytest.approx(10.0 - half, rel=0.01)
