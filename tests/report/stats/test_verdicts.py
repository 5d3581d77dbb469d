from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.verdicts import deciding_comparison


def over_seeds(effect: float, low: float, high: float, *differences: float) -> Comparison:
    return Comparison(
        label="",
        effect=effect,
        low=low,
        high=high,
        num_videos=0,
        num_seeds=len(differences),
        differences=differences,
    )


def test_many_comparisons_need_a_wider_miss_to_fail() -> None:
    vague = over_seeds(-1.7, -5.3, 1.9, -0.1, -3.0, -2.0)
    clear = over_seeds(-2.0, -2.25, -1.75, -2.1, -1.9, -2.0)
    assert not vague.misses(0.0, num_comparisons=1)
    assert clear.misses(0.0, num_comparisons=1)
    assert not clear.misses(0.0, num_comparisons=5000)


def test_the_comparison_that_is_shown_for_a_failed_claim_is_one_that_failed() -> None:
    vague = over_seeds(-4.0, -9.0, 1.0, -1.0, -3.0, -8.0)
    clear = over_seeds(-2.0, -2.2, -1.8, -2.05, -1.95, -2.0)
    assert deciding_comparison([vague, clear], 0.0) is clear
    assert deciding_comparison([vague], 0.0) is vague
    assert deciding_comparison([], 0.0) is None
