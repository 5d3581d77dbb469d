"""The toys are long and many enough for the profiles that are meant for them."""

import pytest
from support.inputs import JOBS

from kdbatch.plan.profiles.profile_file import load_profile
from kdbatch.plan.resolve import make_plan
from kdbatch.report.stats.verdicts import MIN_VIDEO_GROUPS
from kdbatch.shard.toy.layouts import layouts_of
from kdbatch.shard.toy.size import SIZES
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain

CLASSES = {"k400": 4, "ssv2": 2}  # per motion


@pytest.mark.parametrize(("profile", "size"), [("toy", "full"), ("micro", "small")])
def test_every_task_of_the_study_fits_the_toys_of_its_profile(
    sharded, profile: str, size: str
) -> None:
    toys = SIZES[size]
    counts = {
        "k400": CLASSES["k400"] * toys.num_motions * toys.k400_train,
        "ssv2": CLASSES["ssv2"] * toys.num_motions * toys.ssv2_train,
    }
    plan = make_plan(
        sorted(JOBS.glob("*.yaml")), profile=profile, config=sharded(**counts, ucf101=96)
    )
    recipes = [item.run.recipe for item in plan.runs if isinstance(item.run.recipe, Pretrain)]
    need = max(r.task.window_frames(r.view.num_frames * r.view.stride_frames) for r in recipes)
    assert need <= toys.min_frames + toys.extra_frames
    assert (
        max(r.data.num_places for r in recipes if r.data.dataset == "k400") == counts["k400"]
    )  # all of them are used


@pytest.mark.parametrize(
    ("profile", "num_seeds"), [("paper", 3), ("h200", 1), ("toy", 1), ("micro", 1)]
)
def test_how_many_seeds(profile: str, num_seeds: int) -> None:
    assert len(load_profile(JOBS / "subset_size.yaml", profile).seeds) == num_seeds


def test_the_experiment_of_the_demo_fits_its_toys(sharded) -> None:
    toys, jobs = SIZES["demo"], JOBS / "demo"
    num_k400 = CLASSES["k400"] * toys.num_motions * toys.k400_train
    plan = make_plan(
        [jobs / "known_answer.yaml"], profile="demo", config=sharded(k400=num_k400, ucf101=336)
    )
    recipes = [r for item in plan.runs if not isinstance(r := item.run.recipe, Import)]
    need = {recipe.view.num_frames * recipe.view.stride_frames for recipe in recipes}
    assert max(need) <= toys.min_frames and not plan.missing
    num_groups = toys.ucf101_nouns * toys.num_motions * toys.ucf101_groups // 3
    assert num_groups >= 2 * MIN_VIDEO_GROUPS  # groups of test videos, enough for an interval


def test_a_third_of_the_groups_of_each_class_is_tested_by_each_fold() -> None:
    _, texts = layouts_of(["ucf101"], SIZES["demo"], seed=0)
    for fold in (1, 2, 3):
        tested = texts[f"ucf101/ucfTrainTestlist/testlist0{fold}.txt"].split()
        groups = {line.split("_g")[1][:2] for line in tested}
        assert groups == {f"{group:02d}" for group in range(7 * fold - 6, 7 * fold + 1)}
        assert len(tested) == 8 * 7 * 2
