from collections.abc import Callable

import pytest
from support.reports import ACCURACY, ROLES, find_run_id

from kdbatch.report.data.study import load_study
from kdbatch.report.stats.claims import CheckedClaim, check_claims, deciding_comparison
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.vocab.plans import Claim
from kdbatch.vocab.runs import RunFolder

ABOVE = Claim(id="above", says="", kind="beats", who="student", than=("T1", "T2"))
BEST = Claim(id="best", says="", kind="best_at", who="student", axis="subset", value="30k")
BLOCKS = Claim(
    id="blocks", says="", kind="fewer_blocks_than", who="map_student", than=("map_T1", "map_T2")
)


@pytest.fixture
def check(studied: Callable) -> Callable[..., CheckedClaim]:
    """Plants accuracies, asks one claim."""

    def ask(
        claim: Claim, *, plant: dict[tuple, float] | None = None, **world: object
    ) -> CheckedClaim:
        record, study = studied(claims=(claim,), accuracy=ACCURACY | (plant or {}), **world)
        (checked,), warnings = check_claims(record, study)
        assert warnings == ()
        return checked

    return ask


def test_a_clear_win_holds(check: Callable) -> None:
    checked = check(ABOVE)
    assert checked.verdict == "holds"
    assert [round(c.effect) for c in checked.comparisons] == [26, 16, 33, 24]
    assert (
        checked.weakest.effect == pytest.approx(16.0)
        and checked.weakest.low > 0
        and checked.weakest.num_videos == 400
    )


def test_one_clear_loss_among_wins_fails(check: Callable) -> None:
    checked = check(ABOVE, plant={("student", "10k"): 0.45})
    assert (
        checked.verdict == "fails"
        and checked.weakest.effect == pytest.approx(-15.0)
        and checked.weakest.high < 0
    )


def test_a_tie_is_undecided(check: Callable) -> None:
    checked = check(ABOVE, plant={("student", "10k"): 0.60})
    assert checked.verdict == "undecided" and checked.weakest.low < 0 < checked.weakest.high


def test_one_loss_of_several_that_might_be_chance_is_undecided_and_says_so(check: Callable) -> None:
    checked = check(ABOVE, plant={("student", "10k"): 0.54})
    assert checked.weakest.high < 0 and checked.verdict == "undecided"
    assert "not when it is widened for 4 comparisons" in checked.why


@pytest.mark.parametrize(
    ("student_30k", "verdict"), [(0.88, "holds"), (0.60, "fails"), (0.765, "undecided")]
)
def test_best_at_compares_with_every_other_value_of_the_axis(
    check: Callable, student_30k: float, verdict: str
) -> None:
    checked = check(BEST, plant={("student", "30k"): student_30k})
    assert checked.verdict == verdict
    assert [c.label for c in checked.comparisons] == ["UCF101: 30k above 10k"]


@pytest.mark.parametrize(
    ("points", "verdict"), [(15.0, "holds"), (40.0, "fails"), (25.0, "undecided")]
)
def test_a_gain_is_over_the_mean_of_the_others_and_over_cases(
    check: Callable, points: float, verdict: str
) -> None:
    gain = Claim(
        id="gain",
        says="",
        kind="mean_gain_at_least",
        who="student",
        than=("T1", "T2"),
        points=points,
    )
    checked = check(gain)
    assert checked.weakest.effect == pytest.approx((76 + 88) / 2 - (50 + 60 + 55 + 64) / 4)
    assert checked.verdict == verdict


def test_what_is_not_run_yet_is_not_yet_and_says_how_much_waits(check: Callable) -> None:
    checked = check(ABOVE, unfinished=[("T2", "30k")])
    assert (
        checked.verdict == "not-yet" and checked.num_missing == 1 and len(checked.comparisons) == 3
    )
    assert checked.why == "1 of 4 comparisons wait for results."


def test_few_videos_are_too_few_for_a_verdict(check: Callable) -> None:
    checked = check(
        ABOVE,
        plant={(r, s): float(r == "student") for r in ROLES for s in ("10k", "30k")},
        num_videos=8,
    )
    assert (
        checked.weakest.effect == 100.0
        and checked.verdict == "undecided"
        and "Fewer than 20" in checked.why
    )


def test_seeds_that_disagree_widen_the_interval(check: Callable) -> None:
    steady = check(BEST, seeds=(0, 1, 2)).weakest
    shaky = check(
        BEST, seeds=(0, 1, 2), plant={("student", "30k", 0): 0.98, ("student", "30k", 1): 0.78}
    ).weakest
    assert steady.num_seeds == shaky.num_seeds == 3
    assert steady.effect == pytest.approx(shaky.effect) == pytest.approx(12.0)
    assert shaky.high - shaky.low > 2 * (steady.high - steady.low)


def test_one_seed_is_told_where_it_matters_and_only_there(check: Callable) -> None:
    assert check(ABOVE).why.endswith("One seed: what training again would change is not in it.")
    assert "One seed" not in check(ABOVE, seeds=(0, 1, 2)).why


def test_maps_of_one_seed_are_undecided_and_the_reason_is_told(check: Callable) -> None:
    checked = check(BLOCKS)
    assert checked.verdict == "undecided" and "One seed gives no spread" in checked.why
    assert (
        checked.weakest.effect == pytest.approx(0.20)
        and checked.weakest.low is None
        and checked.unit == "index"
    )


def test_maps_of_three_seeds_are_compared_seed_by_seed(check: Callable) -> None:
    checked = check(BLOCKS, seeds=(0, 1, 2))
    assert checked.verdict == "holds"
    assert checked.comparisons[0].differences == (
        pytest.approx(0.20),
        pytest.approx(0.21),
        pytest.approx(0.22),
    )


def test_a_claim_about_nothing_that_is_run_says_so(check: Callable) -> None:
    checked = check(Claim(id="x", says="", kind="beats", who="student", than=("T7",)))
    assert (
        checked.verdict == "not-yet" and checked.why == "Nothing that this study runs bears on it."
    )


def test_a_run_without_predictions_leaves_one_seed_without_an_interval(studied: Callable) -> None:
    record, study = studied(claims=(ABOVE,))
    RunFolder(study.runs_dir / find_run_id(record, "student", "10k")).predictions.unlink()
    (checked,), _ = check_claims(record, load_study(study.runs_dir))
    assert checked.verdict == "undecided" and "no usable per-video predictions" in checked.why
    assert checked.weakest.effect == pytest.approx(16.0)


def test_many_comparisons_need_a_wider_miss_to_fail() -> None:
    differences = (-0.1, -3.0, -2.0)
    alone = Comparison(
        label="",
        effect=-1.7,
        low=-5.3,
        high=1.9,
        num_videos=0,
        num_seeds=3,
        differences=differences,
    )
    sure = Comparison(
        label="",
        effect=-2.0,
        low=-2.25,
        high=-1.75,
        num_videos=0,
        num_seeds=3,
        differences=(-2.1, -1.9, -2.0),
    )
    assert not alone.misses(0.0, num_comparisons=1)
    assert sure.misses(0.0, num_comparisons=1) and not sure.misses(0.0, num_comparisons=5000)


def test_the_comparison_that_is_shown_for_a_failed_claim_is_one_that_failed() -> None:
    vague = Comparison(
        label="vague",
        effect=-4.0,
        low=-9.0,
        high=1.0,
        num_videos=0,
        num_seeds=3,
        differences=(-1.0, -3.0, -8.0),
    )
    sure = Comparison(
        label="sure",
        effect=-2.0,
        low=-2.2,
        high=-1.8,
        num_videos=0,
        num_seeds=3,
        differences=(-2.05, -1.95, -2.0),
    )
    assert (
        deciding_comparison([vague, sure], 0.0) is sure
        and deciding_comparison([vague], 0.0) is vague
        and deciding_comparison([], 0.0) is None
    )


def test_a_claim_about_one_case_looks_at_no_other(check: Callable) -> None:
    lost = {("student", "10k"): 0.10}
    there = Claim(
        id="there", says="", kind="beats", who="student", than=("T1", "T2"), at={"subset": "30k"}
    )
    assert check(there, plant=lost).verdict == "holds"
    assert (
        check(
            Claim(
                id="gone", says="", kind="beats", who="student", than=("T1",), at={"subset": "50k"}
            )
        ).verdict
        == "not-yet"
    )


@pytest.mark.parametrize(("student_10k", "verdict"), [(0.80, "holds"), (0.40, "fails")])
def test_a_student_is_compared_with_teachers_of_another_case(
    check: Callable, student_10k: float, verdict: str
) -> None:
    claim = Claim(
        id="less",
        says="",
        kind="beats",
        who="student",
        than=("T1", "T2"),
        at={"subset": "10k"},
        than_at={"subset": "30k"},
    )
    checked = check(claim, plant={("student", "10k"): student_10k})
    assert checked.verdict == verdict
    assert [c.label for c in checked.comparisons] == [
        f"UCF101 · 10k: above {ROLES[role]} at 30k" for role in ("T1", "T2")
    ]
    assert checked.comparisons[1].effect == pytest.approx(100 * student_10k - 64)


@pytest.mark.parametrize(
    ("student_10k", "verdict"), [(0.76, "fails"), (0.45, "holds"), (0.60, "undecided")]
)
def test_a_negated_claim_turns_the_verdict_round_but_not_doubt(
    check: Callable, student_10k: float, verdict: str
) -> None:
    checked = check(
        Claim(id="not", says="", kind="beats", who="student", than=("T1", "T2"), negated=True),
        plant={("student", "10k"): student_10k},
    )
    assert checked.verdict == verdict
