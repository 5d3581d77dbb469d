"""Estimates in closed form: what a plan of the study says that its runs cost."""

import pytest
from support.inputs import JOBS

from kdbatch.plan.costs.estimator import START_SECONDS
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans.plan import PlannedRun

# Clips per second of training that were measured on an H200, in memory and fed from shards.
R21D, SHUFFLE = 806, 1622
R21D_READ, SHUFFLE_READ = 642, 540
TRAIN, TEST = 6660, 6660  # half of 13,320: the index of these tests says so
HELD_OUT = 0.084 * TRAIN  # and 3 clips of each are tested every 5 epochs


@pytest.fixture
def runs(sharded) -> dict[str, PlannedRun]:
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)
    plan = make_plan(sorted(JOBS.glob("*.yaml")), profile="paper", config=config)
    return {item.title: item for item in plan.runs}


def _seconds(runs: dict[str, PlannedRun], title: str) -> float:
    return runs[f"{title}, seed 0"].cost.device_hours * 3600 - START_SECONDS


@pytest.mark.parametrize(
    ("name", "passes", "reads"),
    [
        ("RotNet C3", 4 * 3, 1),  # four rotations of one clip
        ("VCOP C2", 4 * 3, 4),
        ("PRP C3", 3, 1),
        ("RSPNet C1", 3 + 2, 3),  # one query, two keys
        ("CVRL C2", 2 * 3, 2),
        ("TDL C3", 2 * 3 + 1, 3),
    ],
)
def test_pretraining_takes_the_longer_of_its_forward_passes_and_of_reading_its_clips(
    runs, name: str, passes: int, reads: int
) -> None:
    for network, computed, read in (
        ("R(2+1)D", R21D, R21D_READ),
        ("ShuffleNet", SHUFFLE, SHUFFLE_READ),
    ):
        title = f"pretrain {network} by {name} on k400[:50k]"
        if f"{title}, seed 0" not in runs:
            continue
        each = max(passes / (3 * computed), reads / read)
        assert _seconds(runs, title) == pytest.approx(200 * 50_000 * each), network


def test_a_network_is_trained_no_faster_than_was_measured_from_shards(runs) -> None:
    """The former estimate had a ShuffleNet at 13,000 clips per second."""
    tests = (TEST * 10 + 20 * HELD_OUT * 3) / R21D_READ
    seconds = _seconds(runs, "fine-tune R(2+1)D (PRP C2 on k400[:50k]) on ucf101")
    assert seconds == pytest.approx(100 * (TRAIN - HELD_OUT) / R21D_READ + tests)
    tests = (TEST * 10 + 48 * HELD_OUT * 3) / SHUFFLE_READ
    seconds = _seconds(runs, "train ShuffleNet on ucf101 from labels only")
    assert seconds == pytest.approx(240 * (TRAIN - HELD_OUT) / SHUFFLE_READ + tests)


def test_a_student_of_an_expensive_teacher_waits_for_its_forward_passes(runs) -> None:
    title = "train R(2+1)D on ucf101 from RSPNet C1 + RSPNet C2 + RSPNet C3 on k400[:50k] (equal)"
    titles = [item for item in runs if item.startswith("train R(2+1)D") and " + " in item]
    title = next(item.removesuffix(", seed 0") for item in titles if item.endswith("seed 0"))
    num_teachers = len(runs[f"{title}, seed 0"].run.parents)
    tests = (TEST * 10 + 48 * HELD_OUT * 3) / R21D_READ
    step = (3 + num_teachers) / (3 * R21D)
    assert step > 1 / R21D_READ
    assert _seconds(runs, title) == pytest.approx(240 * (TRAIN - HELD_OUT) * step + tests)


def test_a_map_costs_reading_or_the_passes_and_gram_matrices_of_its_own_network(runs) -> None:
    assert _seconds(runs, "CKA of T2 on ucf101 in subset_size at subset 30k") == pytest.approx(
        1024 / 540
    )
    assert _seconds(runs, "CKA of student on ucf101 in subset_size at subset 30k") == pytest.approx(
        1024 / 540
    )


def test_without_gpus_the_runs_are_estimated_for_a_cpu(sharded) -> None:
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    files = [JOBS / "subset_size.yaml"]
    for profile in ("micro", "paper"):
        on_cpu = make_plan(files, profile=profile, config=config, has_gpus=False)
        on_gpu = make_plan(files, profile=profile, config=config)
        assert {item.cost.device for item in on_cpu.runs} == {"CPU"}
        assert "CPU" in on_cpu.runs[0].cost.device_title
        assert "H200" in on_gpu.runs[0].cost.device_title
        for slow, fast in zip(on_cpu.runs, on_gpu.runs, strict=True):
            assert slow.cost.device_hours >= fast.cost.device_hours


def test_the_bytes_read_are_those_of_the_clips_and_not_of_the_whole_videos(sharded) -> None:
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    plan = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=config)
    pretraining = next(item for item in plan.runs if item.run.recipe.kind == "pretrain")
    # The index has 10 bytes for each 1,000 videos, whose published length is 10 s; a clip lasts
    # 16 frames, and half a group of 16 is read before it.
    assert pretraining.cost.read_bytes == pytest.approx(
        200 * 10_000 * 3 * (10 / 1000) * (16 + 8) / 24 / 10
    )
    assert plan.shard_bytes == pytest.approx(0.01 * (100_000 + 13_320 * 10 / 9.999 + 6766), rel=0.1)
