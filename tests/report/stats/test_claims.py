import dataclasses
from collections.abc import Callable, Mapping, Sequence

import pytest
from support.reports import ACCURACY, ROLES, AccuracyKey, find_run_id
from support.studies import MakeStudy

from kdbatch.report.data.study import load_study
from kdbatch.report.stats.claims import CheckedClaim, check_claims
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.verdicts import published_tolerance
from kdbatch.vocab.plans.declarations import Claim
from kdbatch.vocab.runs.folder import RunFolder

ABOVE = Claim(id="above", says="", kind="beats", who="student", than=("T1", "T2"))
BEST = Claim(id="best", says="", kind="best_at", who="student", axis="subset", value="30k")
BLOCKS = Claim(
    id="blocks", says="", kind="fewer_blocks_than", who="map_student", than=("map_T1", "map_T2")
)

Check = Callable[..., CheckedClaim]


@pytest.fixture
def check(make_study: MakeStudy) -> Check:
    """Checks one claim in a study in which some accuracies are replaced."""

    def check(
        claim: Claim,
        *,
        accuracy: Mapping[AccuracyKey, float] | None = None,
        seeds: Sequence[int] = (0, 1, 2),
        num_videos: int = 400,
        unfinished: Sequence[tuple[str, str]] = (),
    ) -> CheckedClaim:
        record, study = make_study(
            claims=(claim,),
            accuracy=ACCURACY | dict(accuracy or {}),
            seeds=seeds,
            num_videos=num_videos,
            unfinished=unfinished,
        )
        (checked,), warnings = check_claims(record, study)
        assert warnings == ()
        return checked

    return check


def weakest_of(checked: CheckedClaim) -> Comparison:
    assert checked.weakest
    return checked.weakest


def bounds_of(checked: CheckedClaim) -> tuple[float, float]:
    weakest = weakest_of(checked)
    assert weakest.low is not None and weakest.high is not None
    return weakest.low, weakest.high


def test_a_clear_win_holds(check: Check) -> None:
    checked = check(ABOVE)
    assert checked.verdict == "holds"
    assert [round(c.effect) for c in checked.comparisons] == [26, 33, 16, 24]
    assert weakest_of(checked).effect == pytest.approx(16.0)
    assert weakest_of(checked).num_videos == 400
    assert bounds_of(checked)[0] > 0


def test_one_clear_loss_among_wins_fails(check: Check) -> None:
    checked = check(ABOVE, accuracy={("student", "10k"): 0.45})
    assert checked.verdict == "fails"
    assert weakest_of(checked).effect == pytest.approx(-15.0)
    assert bounds_of(checked)[1] < 0


def test_a_tie_is_undecided(check: Check) -> None:
    checked = check(ABOVE, accuracy={("student", "10k"): 0.60})
    assert checked.verdict == "undecided"
    low, high = bounds_of(checked)
    assert low < 0 < high


def test_a_loss_that_may_be_chance_among_several_comparisons_is_undecided(check: Check) -> None:
    checked = check(ABOVE, accuracy={("student", "10k"): 0.568})
    assert bounds_of(checked)[1] < 0 and checked.verdict == "undecided"
    assert "not when it is widened for 4 comparisons" in checked.why


@pytest.mark.parametrize(
    ("student_30k", "verdict"), [(0.88, "holds"), (0.60, "fails"), (0.765, "undecided")]
)
def test_best_at_compares_with_every_other_value_of_the_axis(
    check: Check, student_30k: float, verdict: str
) -> None:
    checked = check(BEST, accuracy={("student", "30k"): student_30k})
    assert checked.verdict == verdict
    assert [c.label for c in checked.comparisons] == ["UCF101: 30k above 10k"]


@pytest.mark.parametrize(
    ("points", "verdict"), [(15.0, "holds"), (40.0, "fails"), (25.0, "undecided")]
)
def test_a_gain_is_over_the_mean_of_the_others_and_over_cases(
    check: Check, points: float, verdict: str
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
    expected = (76 + 88) / 2 - (50 + 60 + 55 + 64) / 4
    assert weakest_of(checked).effect == pytest.approx(expected)
    assert checked.verdict == verdict


def test_without_all_results_there_is_no_verdict_and_the_missing_ones_are_counted(
    check: Check,
) -> None:
    checked = check(ABOVE, unfinished=[("T2", "30k")])
    assert checked.verdict == "not-yet"
    assert checked.num_missing == 1 and len(checked.comparisons) == 3
    assert checked.why == "1 of 4 comparisons wait for results."


def test_few_videos_are_too_few_for_a_verdict(check: Check) -> None:
    roles_and_subsets = [(role, subset) for role in ROLES for subset in ("10k", "30k")]
    perfect = {key: float(key[0] == "student") for key in roles_and_subsets}
    checked = check(ABOVE, accuracy=perfect, num_videos=8)
    assert weakest_of(checked).effect == 100.0
    assert checked.verdict == "undecided" and "Fewer than 20" in checked.why


def test_seeds_that_disagree_widen_the_interval(check: Check) -> None:
    steady = check(BEST, seeds=(0, 1, 2))
    accuracy = {("student", "30k", 0): 0.98, ("student", "30k", 1): 0.78}
    varied = check(BEST, seeds=(0, 1, 2), accuracy=accuracy)
    assert weakest_of(steady).num_seeds == weakest_of(varied).num_seeds == 3
    assert weakest_of(steady).effect == pytest.approx(12.0)
    assert weakest_of(varied).effect == pytest.approx(12.0)
    widths = [high - low for low, high in map(bounds_of, (steady, varied))]
    assert widths[1] > 2 * widths[0]


@pytest.mark.parametrize("student_10k", [0.76, 0.60, 0.30])
def test_with_one_seed_nothing_is_decided(check: Check, student_10k: float) -> None:
    checked = check(ABOVE, seeds=(0,), accuracy={("student", "10k"): student_10k})
    assert checked.verdict == checked.corrected == "one-seed" and checked.p_value is None
    assert checked.why.endswith("one seed does not show the variation between trainings.")
    assert bounds_of(checked)[0] < bounds_of(checked)[1]


def test_maps_of_one_seed_have_no_interval_and_the_reason_is_given(check: Check) -> None:
    checked = check(BLOCKS, seeds=(0,))
    assert checked.verdict == "one-seed" and "One seed gives no spread" in checked.why
    assert weakest_of(checked).effect == pytest.approx(0.20)
    assert weakest_of(checked).low is None and checked.unit == "index"


def test_maps_of_three_seeds_are_compared_seed_by_seed(check: Check) -> None:
    checked = check(BLOCKS, seeds=(0, 1, 2))
    assert checked.verdict == "holds"
    assert checked.comparisons[0].differences == pytest.approx((0.20, 0.21, 0.22))


def test_a_claim_without_runs_has_no_verdict(check: Check) -> None:
    checked = check(Claim(id="x", says="", kind="beats", who="student", than=("T7",)))
    assert checked.verdict == "not-yet"
    assert checked.why == "This study has no runs for this claim."


def test_a_run_without_predictions_leaves_one_seed_without_an_interval(
    make_study: MakeStudy,
) -> None:
    record, study = make_study(claims=(ABOVE,))
    RunFolder(study.runs_dir / find_run_id(record, "student", "10k")).predictions.unlink()
    (checked,), _ = check_claims(record, load_study(study.runs_dir))
    assert checked.verdict == "one-seed" and "no usable per-video predictions" in checked.why
    assert weakest_of(checked).effect == pytest.approx(16.0)


def test_a_claim_about_one_case_ignores_the_others(check: Check) -> None:
    low_10k = {("student", "10k"): 0.10}

    def above_at(subset: str) -> Claim:
        at = {"subset": subset}
        return Claim(id=subset, says="", kind="beats", who="student", than=("T1", "T2"), at=at)

    assert check(above_at("30k"), accuracy=low_10k).verdict == "holds"
    assert check(above_at("50k")).verdict == "not-yet"


@pytest.mark.parametrize(("student_10k", "verdict"), [(0.80, "holds"), (0.40, "fails")])
def test_a_student_is_compared_with_teachers_of_another_case(
    check: Check, student_10k: float, verdict: str
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
    checked = check(claim, accuracy={("student", "10k"): student_10k})
    assert checked.verdict == verdict
    assert [c.label for c in checked.comparisons] == [
        f"UCF101 · 10k: above {ROLES[role]} at 30k" for role in ("T1", "T2")
    ]
    assert checked.comparisons[1].effect == pytest.approx(100 * student_10k - 64)


@pytest.mark.parametrize(
    ("student_10k", "verdict"), [(0.76, "fails"), (0.45, "holds"), (0.60, "undecided")]
)
def test_a_negated_claim_reverses_the_verdict_except_undecided(
    check: Check, student_10k: float, verdict: str
) -> None:
    negated = Claim(id="not", says="", kind="beats", who="student", than=("T1", "T2"), negated=True)
    checked = check(negated, accuracy={("student", "10k"): student_10k})
    assert checked.verdict == verdict


def test_an_average_over_cases_is_one_comparison_with_each_other_role(check: Check) -> None:
    averaged = dataclasses.replace(ABOVE, averaged=True)
    checked = check(averaged, accuracy={("student", "10k"): 0.55})
    assert [c.label for c in checked.comparisons] == [
        f"above {ROLES[role]}, averaged over 2 cases" for role in ("T1", "T2")
    ]
    effects = [(55 - 50 + 88 - 55) / 2, (55 - 60 + 88 - 64) / 2]
    assert [c.effect for c in checked.comparisons] == pytest.approx(effects)
    assert checked.verdict == "holds"


def width_of(comparison: Comparison) -> float:
    assert comparison.low is not None and comparison.high is not None
    return comparison.high - comparison.low


ONE_CASE_VARIES = {("student", "30k", 0): 0.90, ("student", "30k", 2): 0.86}


@pytest.mark.parametrize("at", [{}, {"subset": "10k"}])
def test_the_spread_between_trainings_is_pooled_over_the_cases_of_an_experiment(
    check: Check, at: dict[str, str]
) -> None:
    """In one of two cases the seeds agree by chance: its interval shows the spread of both, also
    where the claim is about that case alone.
    """
    claim = dataclasses.replace(ABOVE, than=("T1",), at=at)
    agreeing = check(claim).comparisons[0]
    pooled = check(claim, accuracy=ONE_CASE_VARIES).comparisons[0]
    assert pooled.label == agreeing.label and pooled.effect == agreeing.effect
    assert width_of(pooled) > 1.1 * width_of(agreeing)


def test_an_average_over_cases_has_the_pooled_spread_of_its_cases(check: Check) -> None:
    """Seeds that differ by +2, 0, -2 in one case and by the opposite in the other have one average:
    the spread of the cases shows that trainings vary by more than that.
    """
    opposite = ONE_CASE_VARIES | {("student", "10k", 0): 0.74, ("student", "10k", 2): 0.78}
    claim = dataclasses.replace(ABOVE, than=("T1",), averaged=True)
    (steady,) = check(claim).comparisons
    (varied,) = check(claim, accuracy=opposite).comparisons
    assert varied.effect == pytest.approx(steady.effect)
    assert width_of(varied) > 1.1 * width_of(steady)


@pytest.mark.parametrize(
    ("published", "verdict"), [(24.75, "holds"), (29.0, "undecided"), (33.0, "fails")]
)
def test_a_published_gain_agrees_within_the_error_of_a_study_of_its_size(
    check: Check, published: float, verdict: str
) -> None:
    claim = Claim(
        id="p",
        says="",
        kind="agrees_with_published",
        who="student",
        than=("T1", "T2"),
        points=published,
        videos=900,
    )
    checked = check(claim, num_videos=2000)
    assert weakest_of(checked).effect == pytest.approx(24.75)
    assert checked.verdict == verdict
    # 1.96 * sqrt((2500 / 900 + 0.6^2) * 3 / 2)
    assert published_tolerance(claim) == pytest.approx(4.25, abs=0.01)


def test_grids_of_maps_are_compared_seed_by_seed(check: Check) -> None:
    grid = dataclasses.replace(BLOCKS, kind="more_grid_than")
    checked = check(grid, seeds=(0, 1, 2))
    assert checked.unit == "index" and len(checked.comparisons) == 2
    assert checked.comparisons[0].label.startswith("above")
