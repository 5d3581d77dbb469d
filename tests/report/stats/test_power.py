import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest

from kdbatch.report.stats.margins import MarginTable, reachable_tail
from kdbatch.report.stats.power import ClaimPower, power_of_records
from kdbatch.report.stats.power_assumptions import PowerAssumptions, pooled_seed_sd
from kdbatch.vocab.datasets import GroupedVideos
from kdbatch.vocab.plans.declarations import Claim
from kdbatch.vocab.plans.records import Cell, PlanRecord

VIDEOS = GroupedVideos(dataset="ucf101", split="test01", num_videos=3783, num_groups=707)
ABOVE = Claim(id="above", says="", kind="beats", who="student", than=("T1",))
AVERAGE = dataclasses.replace(ABOVE, id="average", averaged=True)
ASSUMED = PowerAssumptions()


def record_of(*claims: Claim, seeds: int = 3, cases: int = 4) -> PlanRecord:
    cells = tuple(
        Cell(role=role, case={"task": f"t{i}"}, seed=seed, run_id=f"r{role}{i}x{seed}")
        for seed in range(seeds)
        for i in range(cases)
        for role in ("student", "T1")
    )
    return PlanRecord(
        experiment="e",
        title="",
        profile="paper",
        source="e.yaml",
        axes={"task": tuple(f"t{i}" for i in range(cases))},
        roles={"student": "Student", "T1": "T1"},
        tables=(),
        maps=(),
        claims=claims,
        cells=cells,
    )


def powers_of(
    *claims: Claim,
    seeds: int = 3,
    cases: int = 4,
    assumed: PowerAssumptions = ASSUMED,
    effect: float = 0.0,
    videos: GroupedVideos = VIDEOS,
) -> Mapping[str, ClaimPower]:
    record = record_of(*claims, seeds=seeds, cases=cases)
    of_run = {cell.run_id: videos for cell in record.cells}
    found = power_of_records([record], of_run, assumed, effect=effect)
    return {power.claim.id: power for power in found}


def smallest_of(*claims: Claim, **given: object) -> float:
    found = powers_of(*claims, **given)[claims[0].id].smallest  # pyright: ignore[reportArgumentType]
    assert found is not None
    return found


def test_without_variance_between_seeds_power_is_that_of_a_normal_test() -> None:
    """(1.960 + 0.842) standard errors: two recipes with a variance of 0.095 a video."""
    assumed = PowerAssumptions(seed_sd=0.01, trainings_differ=1e-6, group_correlation=0.0)
    found = smallest_of(ABOVE, seeds=40, cases=1, assumed=assumed)
    error = 100 * (2 * (0.19 - 1e-6) / 2 / 3783) ** 0.5
    assert found == pytest.approx((1.960 + 0.842) * error, rel=0.04)


def test_a_margin_is_the_quantile_of_a_normal_and_a_student_error() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(2_000_000) + 2 * rng.standard_t(4, 2_000_000)
    (margin,) = MarginTable.of(0.025, 4.0).margins(1.0, np.array([2.0]))
    assert margin == pytest.approx(np.quantile(drawn, 0.975), rel=0.02)
    (alone,) = MarginTable.of(0.025, 4.0).margins(2.0, np.array([0.0]))
    assert alone == pytest.approx(2 * 1.960, rel=0.002)


def test_a_tail_is_one_that_ten_thousand_replicates_can_show() -> None:
    assert reachable_tail(0.025) == pytest.approx(0.025, rel=0.01)
    assert reachable_tail(0.025 / 56) == pytest.approx(4 / 10_001)
    assert reachable_tail(0.025 / 300) == 0.0
    many = [dataclasses.replace(AVERAGE, id=f"c{i}") for i in range(300)]
    assert powers_of(*many)["c0"].smallest is None


def test_an_average_over_cases_decides_less_than_every_case_needs() -> None:
    powers = powers_of(ABOVE, AVERAGE)
    every, average = powers["above"], powers["average"]
    assert every.smallest is not None and average.smallest is not None
    assert average.smallest < every.smallest / 1.8
    assert every.num_comparisons == 4 and average.num_comparisons == 1
    assert every.num_cases == average.num_cases == 4


def test_more_of_anything_decides_smaller_effects() -> None:
    base = smallest_of(AVERAGE)
    assert smallest_of(AVERAGE, seeds=5) < base
    assert smallest_of(AVERAGE, cases=8) < base
    assert smallest_of(AVERAGE, videos=dataclasses.replace(VIDEOS, num_groups=3783)) < base
    assert smallest_of(AVERAGE, ABOVE, ABOVE) > base  # Holm over three claims
    assert smallest_of(AVERAGE, assumed=PowerAssumptions(seed_sd=1.2)) > base


def test_one_seed_decides_nothing_but_the_seeds_that_an_effect_needs_are_named() -> None:
    found = powers_of(AVERAGE, seeds=1, effect=2.0)["average"]
    assert (found.smallest, found.share, found.why) == (
        None,
        None,
        "with one seed nothing is decided",
    )
    assert found.seeds_needed is not None and found.seeds_needed >= 2
    assert powers_of(AVERAGE, seeds=1, effect=0.05)["average"].seeds_needed is None
    enough = powers_of(AVERAGE, seeds=found.seeds_needed, effect=2.0)["average"]
    fewer = powers_of(AVERAGE, seeds=found.seeds_needed - 1, effect=2.0)["average"]
    assert enough.share is not None and enough.share >= 0.8
    assert fewer.share is None or fewer.share < 0.8


def test_a_published_gain_differs_from_its_tolerance_on() -> None:
    published = Claim(
        id="p",
        says="",
        kind="agrees_with_published",
        who="student",
        than=("T1",),
        points=20.0,
        videos=3783,
    )
    near = powers_of(published, assumed=PowerAssumptions(seed_sd=0.1), seeds=5)["p"]
    far = powers_of(published, assumed=PowerAssumptions(seed_sd=2.0), cases=1)["p"]
    assert near.smallest is not None and near.smallest > 2.8  # the tolerance
    assert near.share_of_agreement is not None and near.share_of_agreement > 0.5
    assert far.share_of_agreement is not None and far.share_of_agreement < 0.1


def test_claims_about_maps_and_other_numbers_say_why_they_have_no_power() -> None:
    blocks = Claim(id="b", says="", kind="fewer_blocks_than", who="m", than=("n",))
    other = dataclasses.replace(AVERAGE, id="o", metric="teacher_error_correlation")
    powers = powers_of(blocks, other)
    assert "no runs" in powers["b"].why
    assert "teacher_error_correlation" in powers["o"].why and powers["o"].smallest is None


def test_the_spread_between_seeds_is_learnt_without_that_of_the_test_videos() -> None:
    record = record_of(ABOVE, seeds=40, cases=20)
    rng = np.random.default_rng(0)
    of_videos = 100 * (0.06 / 3783) ** 0.5
    accuracy = {
        cell.run_id: 80 + float(rng.normal(0, (0.9**2 + of_videos**2) ** 0.5))
        for cell in record.cells
    }
    videos = {cell.run_id: VIDEOS for cell in record.cells}
    found, degrees = pooled_seed_sd([record, record], accuracy, videos, ASSUMED)
    assert degrees == 2 * 20 * 39  # a run of two experiments counts once
    assert found == pytest.approx(0.9, rel=0.05)
    assert pooled_seed_sd([record], {}, videos, ASSUMED) == (0.0, 0)
