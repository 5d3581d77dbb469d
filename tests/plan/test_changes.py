"""A sweep over schedules, rates and augmentations is one experiment at one profile."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import Recipe

PROFILE = """\
seeds: [0]
clip: {num_frames: 8, size_pixels: 32, fps: 24.0}
pretrain: {epochs: 5, batch_clips: 64}
finetune: {epochs: 6, batch_clips: 8, lr: 0.02, warmup_epochs: 2.0}
distill: {epochs: 7, batch_clips: 8, lr: 0.03, milestones: [0.5], decay: steps}
linear: {epochs: 1, batch_clips: 8, lr: 0.02}
"""
EXPERIMENT: dict[str, Any] = {
    "name": "mine",
    "title": "Mine",
    "vary": {"target": ["ucf101"]},
    "teachers": {
        "T1": {
            "title": "T1",
            "backbone": "shufflenet_2x",
            "pretrain": {"task": "rotnet", "dataset": "k400", "subset": "10k"},
            "target": "ucf101",
        },
    },
    "student": {
        "title": "Student",
        "backbone": "shufflenet_2x",
        "target": "ucf101",
        "teachers": ["T1"],
    },
    "controls": {"labels_only": {"title": "Labels only", "teachers": []}},
}


@pytest.fixture
def plan(in_tmp: Path):
    (in_tmp / "profiles").mkdir()
    (in_tmp / "profiles" / "small.yaml").write_text(PROFILE)

    def plan_with(
        vary: dict[str, Any],
        *,
        pretrain: dict[str, Any] | None = None,
        teacher: dict[str, Any] | None = None,
        student: dict[str, Any] | None = None,
        **file: Any,
    ) -> Plan:
        raw = EXPERIMENT | {"vary": vary} | file
        t1 = EXPERIMENT["teachers"]["T1"]
        t1 = t1 | {"pretrain": t1["pretrain"] | (pretrain or {})} | (teacher or {})
        raw |= {"teachers": {"T1": t1}, "student": EXPERIMENT["student"] | (student or {})}
        (in_tmp / "mine.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        return make_plan([Path("mine.yaml")], profile="small", config=Config(), has_gpus=False)

    return plan_with


def recipes(plan: Plan, kind: type[Recipe]) -> list[Any]:
    return [item.run.recipe for item in plan.runs if isinstance(item.run.recipe, kind)]


def test_a_sweep_over_a_rate_needs_no_profile_for_each_value(plan) -> None:
    made = plan({"lr": [0.01, 0.03]}, student={"schedule": {"lr": "$lr"}})
    students = [r for r in recipes(made, Distill) if r.weighting != "none"]
    assert [r.schedule.lr for r in students] == [0.01, 0.03]
    assert len({(r.schedule.epochs, r.schedule.milestones) for r in students}) == 1
    assert {r.schedule for r in recipes(made, Finetune)} == {recipes(made, Finetune)[0].schedule}
    usual = plan({"target": ["ucf101"]}, teacher={"target": "$target"})
    ids = {item.run.id for item in usual.runs}
    assert ids <= {item.run.id for item in made.runs}  # 0.03 is the profile's own


def test_values_of_an_axis_may_be_mappings_and_lists(plan) -> None:
    axis = {
        "short": {"own": {"epochs": 2, "milestones": [0.25, 0.5]}},
        "long": {"own": {"epochs": 9, "milestones": [0.75]}},
    }
    made = plan({"length": axis}, student={"schedule": "$own"})
    students = [r.schedule for r in recipes(made, Distill) if r.weighting != "none"]
    assert [(s.epochs, s.milestones) for s in students] == [(2, (0.25, 0.5)), (9, (0.75,))]
    assert made.records[0].axes == {"length": ("short", "long")}
    lists = {"early": [0.25], "late": [0.75]}
    made = plan({"at": lists}, student={"schedule": {"milestones": "$at"}})
    assert {r.schedule.milestones for r in recipes(made, Distill)} == {(0.25,), (0.75,)}


def test_schedules_and_augmentations_of_every_stage_can_differ(plan) -> None:
    made = plan(
        {"on": ["ucf101"]},
        pretrain={"schedule": {"epochs": 3, "lr_factor": 2.0}, "augment": {"flip_probability": 0}},
        teacher={"target": "$on", "schedule": {"lr": 0.5}, "augment": {"min_area": 0.5}},
        student={"augment": {"jitter_probability": 0.8, "brightness": 0.4}},
        probes=["linear"],
    )
    (pretrain,), (first, probe) = recipes(made, Pretrain), recipes(made, Finetune)
    usual_rate = recipes(plan({"target": ["ucf101"]}, teacher={"target": "$target"}), Pretrain)[0]
    assert pretrain.schedule.epochs == 3
    assert pretrain.schedule.lr == 2 * usual_rate.schedule.lr
    assert pretrain.view.augment.flip_probability == 0
    assert (first.schedule.lr, first.schedule.epochs, first.view.augment.min_area) == (0.5, 6, 0.5)
    assert (probe.trained, probe.schedule.lr, probe.schedule.epochs) == ("head", 0.02, 1)
    assert {r.view.augment.brightness for r in recipes(made, Distill)} == {0.4}


def test_the_timeline_can_be_varied(plan) -> None:
    made = plan({"fps": [12.0, 24.0]}, timeline={"fps": "$fps"})
    assert {item.run.recipe.view.fps for item in made.runs} == {12.0, 24.0}
    rates = {cell.case["fps"]: cell.run_id for cell in made.records[0].cells if cell.role == "T1"}
    views = {item.run.id: item.run.recipe.view for item in made.runs}
    assert {label: views[run_id].fps for label, run_id in rates.items()} == {
        "12.0": 12.0,
        "24.0": 24.0,
    }
    slow = {item.title for item in made.runs if item.run.recipe.view.fps == 12.0}
    assert all(title.endswith(" at 12 fps, seed 0") for title in slow)
    usual = plan({"target": ["ucf101"]}, teacher={"target": "$target"})
    assert {item.run.id for item in usual.runs} < {item.run.id for item in made.runs}


@pytest.mark.parametrize(
    "where",
    [
        {"pretrain": {"schedule": {"epochs": "$x"}}},
        {"pretrain": {"augment": {"rotation_degrees": "$x"}}},
        {"teacher": {"schedule": {"epochs": "$x"}}},
        {"teacher": {"augment": {"max_aspect": "$x"}}},
        {"teacher": {"videos_per_class": "$x"}},
        {"student": {"schedule": {"epochs": "$x"}}},
        {"student": {"augment": {"max_aspect": "$x"}}},
        {"student": {"videos_per_class": "$x"}},
        {"timeline": {"fps": "$x"}},
        {"timeline": {"stride_frames": "$x"}},
    ],
    ids=str,
)
def test_runs_that_differ_in_one_setting_differ_in_their_titles(
    plan, where: dict[str, Any]
) -> None:
    made = plan({"x": [2, 3]}, **where)
    num_usual = len(plan({"target": ["ucf101"]}, teacher={"target": "$target"}).runs)
    assert len(made.runs) > num_usual
    assert len({item.title for item in made.runs}) == len(made.runs)


def test_the_setting_is_in_the_title(plan) -> None:
    made = plan(
        {"lr": [0.5]},
        pretrain={"schedule": {"epochs": 3}},
        teacher={"schedule": {"lr": "$lr"}},
        student={"augment": {"brightness": 0.4}},
    )
    on = "on k400[:10k] with epochs 3"
    assert [item.title for item in made.runs] == [
        f"pretrain ShuffleNet by RotNet C1 {on}, seed 0",
        f"fine-tune ShuffleNet (RotNet C1 {on}) on ucf101, lr 0.5, seed 0",
        f"train ShuffleNet on ucf101 from RotNet C1 with lr 0.5 {on} (ae-kd, brightness 0.4), "
        "seed 0",
        "train ShuffleNet on ucf101 from labels only (brightness 0.4), seed 0",
    ]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"student": {"schedule": {"epoch": 3, "lr": "$x"}}},
            "mine.yaml: student.schedule has no field 'epoch'. Did you mean 'epochs'?",
        ),
        (
            {"teacher": {"schedule": {"epochs": 1, "lr": "$x"}}},
            "mine.yaml: T1.schedule.warmup_epochs: found 2, but the training has 1 epochs.",
        ),
        (
            {"pretrain": {"schedule": {"lr": "$x"}}},
            "mine.yaml: T1.pretrain.schedule has no field 'lr'.",
        ),
        (
            {"student": {"augment": {"crop": "center", "min_area": "$x"}}},
            "mine.yaml: student.augment.crop: is a field of student itself. Write it there.",
        ),
        (
            {"teacher": {"augment": {"min_area": "$x"}}},
            "mine.yaml: T1.augment.min_area: found 2. Write 0.001 to 1.",
        ),
        ({}, "mine.yaml: vary.x: no teacher, reference, student or control has $x"),
        (
            {"timeline": {"fps": "$y"}},
            "mine.yaml: timeline.fps: $y: no 'y'",
        ),
    ],
)
def test_mistakes_name_their_field(plan, where: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan({"x": [2]}, **where)
    assert message in str(caught.value)
