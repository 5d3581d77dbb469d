"""Verdicts and intervals on studies whose truth is known."""

import numpy as np
import pytest
from simulation.coverage import ALIKE, simulate_coverage
from simulation.power import simulate_power, stated_powers
from simulation.studies import TRUTHS, simulate_studies
from simulation.world import Training, World, draw_correct, draw_groups


def test_a_drawn_recipe_has_its_true_accuracy_over_videos_and_trainings() -> None:
    rng = np.random.default_rng(0)
    groups = draw_groups(4000, rng, smallest=4, largest=7)
    runs = {f"r{i}": Training(recipe=f"x{i}", accuracy=0.8) for i in range(60)}
    drawn = draw_correct(runs, groups, World(seed_sd=2.0), rng)
    mean = 100 * float(np.mean([correct_N.mean() for correct_N in drawn.correct.values()]))
    assert mean == pytest.approx(80.0, abs=1.0)
    assert float(np.std(list(drawn.own_accuracy.values()), ddof=1)) == pytest.approx(2.0, rel=0.3)


@pytest.mark.simulation
@pytest.mark.parametrize("num_seeds", [1, 2, 3, 4, 5])
def test_95_percent_intervals_cover_the_truth_of_grouped_videos(num_seeds: int) -> None:
    """With one seed: the difference of these two trainings."""
    covered = [
        simulate_coverage(
            num_seeds,
            alike,
            seed_sd=1.0,
            num_videos=3000,
            num_studies=200,
            rng=np.random.default_rng(num_seeds),
            ignore_groups=False,
        ).grouped
        for alike in ALIKE
    ]
    assert 0.93 <= np.mean(covered) <= 0.99
    assert min(covered) > 0.91


@pytest.mark.simulation
def test_videos_that_are_taken_for_independent_give_intervals_that_are_too_narrow() -> None:
    found = simulate_coverage(
        1, "very", seed_sd=1.0, num_videos=3000, num_studies=200, rng=np.random.default_rng(0)
    )
    assert found.correlation > 0.25 and found.single < 0.85 < 0.92 < found.grouped


@pytest.mark.simulation
def test_averages_over_cases_are_decided_where_every_case_is_not() -> None:
    nothing, _, three_points = TRUTHS
    found = simulate_studies(three_points, num_seeds=3, num_studies=8)
    for inference in ("two_sources_beat_one", "two_categories_beat_one"):
        assert found.holds[f"{inference}_on_average"] == 1.0
        assert found.holds[inference] < 1.0
    assert found.any_wrong_corrected == 0.0
    null = simulate_studies(nothing, num_seeds=3, num_studies=8)
    assert null.any_wrong_corrected <= 1 / 8
    assert simulate_studies(nothing, num_seeds=1, num_studies=4).any_wrong == 0.0


@pytest.mark.simulation
@pytest.mark.parametrize(
    "claim_id",
    [
        "two_sources_beat_one_on_average",  # two comparisons, averaged over four cases
        "two_networks_beat_two_seeds",  # in every one of eight cases
        "gain_vcop_over_labels_only",  # one case, whose seed variance is that of four
        "r21d_student_not_above_labels_only_vcop",  # negated
    ],
)
@pytest.mark.parametrize("is_corrected", [False, True])
def test_the_effect_that_a_plan_states_is_decided_in_80_percent_of_studies(
    claim_id: str, is_corrected: bool
) -> None:
    powers = stated_powers(3, World())
    power = powers[claim_id]
    effect = power.smallest if is_corrected else power.smallest_alone
    assert effect is not None
    share = simulate_power(
        claim_id,
        effect,
        world=World(),
        num_seeds=3,
        num_studies=100,
        num_claims=len(powers) if is_corrected else 1,
    )
    assert 0.7 <= share <= 0.9


@pytest.mark.simulation
def test_the_number_of_seeds_that_a_plan_names_decides_the_effect() -> None:
    claim_id, effect = "two_sources_beat_one_on_average", 2.0
    power = stated_powers(3, World(), effect=effect)[claim_id]
    assert power.seeds_needed is not None and power.seeds_needed > 3
    shares = [
        simulate_power(
            claim_id,
            effect,
            world=World(),
            num_seeds=num_seeds,
            num_studies=120,
            num_claims=len(stated_powers(3, World())),
        )
        for num_seeds in (3, power.seeds_needed)
    ]
    assert power.share == pytest.approx(shares[0], abs=0.12)
    assert shares[0] < shares[1] and shares[1] >= 0.72
