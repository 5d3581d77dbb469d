import pytest

from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.verdicts import (
    correct_p_values,
    decide_verdict,
    deciding_comparison,
    verdict_at,
)
from kdbatch.vocab.plans.declarations import Claim

CLAIM = Claim(id="x", says="", kind="beats", who="student", than=("T1",))


def decide(*comparisons: Comparison) -> str:
    return decide_verdict(CLAIM, comparisons, num_missing=0).verdict


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
    assert decide(vague) == "undecided" and decide(clear) == "fails"
    assert decide(*[clear] * 5000) == "undecided"


def test_the_comparison_that_is_shown_for_a_failed_claim_is_one_that_failed() -> None:
    vague = over_seeds(-4.0, -9.0, 1.0, -1.0, -3.0, -8.0)
    clear = over_seeds(-2.0, -2.2, -1.8, -2.05, -1.95, -2.0)
    assert deciding_comparison([vague, clear], 0.0) is clear
    assert deciding_comparison([vague], 0.0) is vague
    assert deciding_comparison([], 0.0) is None


def test_holms_correction_is_that_of_a_worked_example() -> None:
    # By hand: 0.005 * 4, 0.01 * 3, then max(0.03 * 2, ...) and max(0.04 * 1, 0.06).
    adjusted = correct_p_values([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_p_values([]) == [] and correct_p_values([0.7, 0.9]) == [1.0, 1.0]


def test_a_verdict_that_other_claims_make_a_likely_chance_is_undecided() -> None:
    assert verdict_at("holds", 0.04) == "holds" and verdict_at("holds", 0.06) == "undecided"
    assert verdict_at("not-yet", None) == "not-yet"
