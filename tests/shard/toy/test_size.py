"""The toys are long and many enough for the profiles that are meant for them."""

import pytest
from support.inputs import JOBS

from kdbatch.plan.profiles import load_profile
from kdbatch.plan.resolve import make_plan
from kdbatch.shard.toy.size import SIZES
from kdbatch.vocab.recipes import Pretrain

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
