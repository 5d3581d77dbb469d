"""Estimates in closed form: what a plan of the study says that its runs cost."""

import pytest
from support.inputs import JOBS

from kdbatch.plan.cost import ASSUMED_GMAC_PER_SECOND
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans import PlannedRun

R21D, SHUFFLE = 21.36, 0.513  # 10^9 multiply-adds of a clip of 16 frames at 112 pixels
TRAIN, TEST = 6660, 6660  # half of 13,320: the index of these tests says so


@pytest.fixture
def runs(sharded) -> dict[str, PlannedRun]:
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)
    plan = make_plan(sorted(JOBS.glob("*.yaml")), profile="paper", config=config)
    return {item.title: item for item in plan.runs}


def _gmac(runs: dict[str, PlannedRun], title: str) -> float:
    return runs[f"{title}, seed 0"].cost_hours * 3600 * ASSUMED_GMAC_PER_SECOND


def test_pretraining_counts_the_clips_that_a_task_learns_from_and_those_it_looks_at(runs) -> None:
    for name, passes in (
        ("RotNet C3", 4 * 3),  # four rotations of one clip
        ("VCOP C2", 4 * 3),
        ("PRP C3", 3),
        ("RSPNet C1", 3 + 2),  # one query, two keys
        ("CVRL C2", 2 * 3),
        ("TDL C3", 2 * 3 + 1),
    ):
        assert _gmac(runs, f"pretrain R(2+1)D by {name} on k400[:50k]") == pytest.approx(
            200 * 50_000 * passes * R21D
        ), name


def test_a_student_pays_for_its_teachers_forward_passes_and_for_ten_clips_of_each_test_video(
    runs,
) -> None:
    test = TEST * 10
    assert _gmac(runs, "train ShuffleNet on ucf101 from labels only") == pytest.approx(
        240 * TRAIN * 3 * SHUFFLE + test * SHUFFLE
    )
    taught = 240 * TRAIN * (3 * SHUFFLE + SHUFFLE + R21D) + test * SHUFFLE
    assert _gmac(
        runs, "train ShuffleNet on ucf101 from RSPNet C1 + R(2+1)D RSPNet C1 on k400[:50k] (ae-kd)"
    ) == pytest.approx(taught)
    tuned = 100 * TRAIN * 3 * R21D + test * R21D
    assert _gmac(runs, "fine-tune R(2+1)D (PRP C2 on k400[:50k]) on ucf101") == pytest.approx(tuned)


def test_a_map_costs_the_forward_passes_and_gram_matrices_of_its_own_network(runs) -> None:
    assert _gmac(runs, "CKA of T2 on ucf101 in subset_size at subset 30k") == pytest.approx(
        1024 * 2 * R21D
    )
    assert _gmac(runs, "CKA of student on ucf101 in subset_size at subset 30k") == pytest.approx(
        1024 * 2 * SHUFFLE
    )
