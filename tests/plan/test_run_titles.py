"""Runs with different recipes have different titles."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from support.inputs import JOBS

from kdbatch.plan.resolve import make_plan
from kdbatch.plan.specs import StudentSpec
from kdbatch.vocab.plans.plan import Plan

PER_FIELD = {
    "weighting": ["equal", "ae-kd", "ca-mkd"],
    "temperature": [1, 4, 8.5],
    "hard_weight": [0.5, 1],
    "soft_weight": [0.9, 2],
    "max_teacher_weight": [0.6, 0.8],
    "feature_weight": [0.0, 50],
    "soft_target": ["teachers", "smoothed-labels"],
    "crop": ["profile", "center"],
    "videos_per_class": [0, 4],
    "loss": ["kl", "dkd", "dist"],
    "loss_terms": [[1, 8], [1, 2], [2, 2]],
    "standardized_logits": [False, True],
    "label_smoothing": [0.0, 0.1],
    "teacher_dropping": [0.0, 0.5],
    "feature_loss": ["ca-mkd", "hints", "cosine-l1"],
    "feature_layers": [[], ["layer3", "layer3:conv5"], ["layer3", "layer2:conv4"]],
}
OTHERS = {
    "feature_weight": {"weighting": "ca-mkd"},
    "feature_loss": {"weighting": "ca-mkd", "feature_weight": 5.0},
    "feature_layers": {"feature_loss": "hints", "feature_weight": 5.0},
    "loss_terms": {"loss": "dkd"},
}
"""What a student needs beside the field, so that the field means something."""


@pytest.fixture
def plan_varied(sharded, in_tmp: Path):
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    profile = yaml.safe_load((JOBS / "profiles" / "micro.yaml").read_text())
    profile["leave_out"], profile["teacher_views"] = [], 0
    (in_tmp / "profiles").mkdir()
    (in_tmp / "profiles" / "micro.yaml").write_text(yaml.safe_dump(profile))

    def plan(student: Mapping[str, object] = {}, **vary: list[object]) -> Plan:
        raw = yaml.safe_load((JOBS / "subset_size.yaml").read_text())
        axes = {k: {f"case {i}": value for i, value in enumerate(v)} for k, v in vary.items()}
        raw |= {"name": "mine", "vary": axes, "tables": [], "maps": [], "claims": [], "probes": []}
        names = ("labels_only", "from_T1", "from_T2", "same_task")
        raw["controls"] = {name: raw["controls"][name] for name in names}
        raw["student"] |= {**student, **{name: f"${name}" for name in vary}}
        text = yaml.safe_dump(raw).replace("$target", "ucf101").replace("$subset", "10k")
        (in_tmp / "mine.yaml").write_text(text)
        return make_plan([Path("mine.yaml")], profile="micro", config=config)

    return plan


def test_every_number_of_a_student_is_varied_here() -> None:
    names = {"title", "backbone", "target", "teachers", "starts_from", "accuracy_of"}
    names |= {"schedule", "augment"}  # test_changes.py
    assert {f.name for f in dataclasses.fields(StudentSpec)} - names == set(PER_FIELD)


@pytest.mark.parametrize("name", PER_FIELD)
def test_students_that_differ_in_one_number_differ_in_their_titles(plan_varied, name: str) -> None:
    plan = plan_varied(OTHERS.get(name, {}), **{name: PER_FIELD[name]})
    students = [item for item in plan.runs if item.run.recipe.kind == "distill"]
    num_values = len(PER_FIELD[name])
    # Students of both teachers, of either and of two seeds; labels alone depend on three fields.
    is_of_labels = name in ("hard_weight", "crop", "videos_per_class", "label_smoothing")
    assert len(students) == 4 * num_values + (num_values if is_of_labels else 1)
    assert len({item.title for item in plan.runs}) == len(plan.runs)


def test_the_varied_value_is_in_the_title(plan_varied) -> None:
    titles = [item.title for item in plan_varied(temperature=[4, 8.5]).runs]
    student = "train ShuffleNet on ucf101 from RSPNet C1 on k400[:8]"
    assert f"{student} (ae-kd), seed 0" in titles
    assert f"{student} (ae-kd, temperature 8.5), seed 0" in titles


def test_maps_of_several_cases_layers_and_experiments_differ_in_their_titles(
    sharded, in_tmp: Path
) -> None:
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "profiles").mkdir()
    (in_tmp / "profiles" / "micro.yaml").write_text((JOBS / "profiles/micro.yaml").read_text())
    for name in ("one", "two"):
        raw = yaml.safe_load((JOBS / "subset_size.yaml").read_text())
        raw |= {"name": name, "tables": [], "claims": []}
        raw["teachers"]["T1"]["pretrain"]["complexity"] = 1 if name == "one" else 2
        raw["maps"] = [
            {
                "id": f"{size}_{layers}",
                "title": "T",
                "models": ["T1"],
                "layers": layers,
                "at": {"target": "ucf101", "subset": size},
            }
            for size in ("10k", "30k")
            for layers in ("act", "all")
        ]
        (in_tmp / f"{name}.yaml").write_text(yaml.safe_dump(raw))
    plan = make_plan([Path("one.yaml"), Path("two.yaml")], profile="micro", config=config)
    assert sum(item.run.recipe.kind == "compare" for item in plan.runs) == 8
    assert len({item.title for item in plan.runs}) == len(plan.runs)
