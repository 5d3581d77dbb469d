"""How many labelled videos a network is trained on, and whether their labels are shuffled."""

from pathlib import Path

import pytest
import yaml
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune


@pytest.fixture
def planned(sharded, in_tmp: Path):
    config = sharded(k400=240_000, ucf101=13_320)

    def plan(*, teacher: dict[str, object], student: dict[str, object]) -> Plan:
        raw = yaml.safe_load((JOBS / "subset_size.yaml").read_text())
        raw |= {"name": "mine", "vary": {"target": ["ucf101"]}}
        raw |= {"controls": {}, "tables": [], "maps": [], "claims": []}
        raw["teachers"]["T1"] |= teacher
        raw["student"] |= student
        text = yaml.safe_dump(raw).replace("$subset", "10k")
        (in_tmp / "mine.yaml").write_text(text)
        return make_plan([Path("mine.yaml")], profile="micro", config=config)

    return plan


def ids_of(plan: Plan, kind: str) -> set[str]:
    return {item.run.id for item in plan.runs if item.run.recipe.kind == kind}


def test_teachers_and_student_are_trained_on_the_videos_that_the_file_gives_them(planned) -> None:
    labels = {"videos_per_class": 20, "shuffled_labels": True}
    plan = planned(teacher=labels, student={"videos_per_class": 3})
    recipes = [item.run.recipe for item in plan.runs]
    found = {(r.videos_per_class, r.shuffled_labels) for r in recipes if isinstance(r, Finetune)}
    assert found == {(20, True), (0, False)}
    assert {r.videos_per_class for r in recipes if isinstance(r, Distill)} == {3}
    titles = "\n".join(item.title for item in plan.runs)
    assert "on ucf101, 20 videos per class, shuffled labels, seed 0" in titles
    assert "with 20 videos per class with shuffled labels + R(2+1)D" in titles
    assert "(ae-kd, videos per class 3)" in titles


def test_all_videos_and_true_labels_have_the_ids_of_a_file_that_says_nothing(planned) -> None:
    plain = planned(teacher={}, student={})
    labels = {"videos_per_class": 0, "shuffled_labels": False}
    said = planned(teacher=labels, student={"videos_per_class": 0})
    assert {item.run.id for item in said.runs} == {item.run.id for item in plain.runs}
    few = planned(teacher={}, student={"videos_per_class": 3})
    assert ids_of(few, "finetune") == ids_of(plain, "finetune")
    assert ids_of(few, "distill") != ids_of(plain, "distill")


def test_a_run_of_fewer_labelled_videos_costs_less(planned) -> None:
    def hours(student: dict[str, object]) -> float:
        plan = planned(teacher={}, student=student)
        return next(i.cost.device_hours for i in plan.runs if i.run.recipe.kind == "distill")

    assert hours({"videos_per_class": 3}) < hours({})


def test_a_negative_number_of_videos_is_refused(planned) -> None:
    with pytest.raises(UserError, match="videos_per_class.*found -1"):
        planned(teacher={"videos_per_class": -1}, student={})
