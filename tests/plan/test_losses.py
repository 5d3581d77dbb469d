"""A plan refuses losses that do not fit their networks, teachers or target."""

import dataclasses
from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill

PROFILE = """\
seeds: [0]
clip: {num_frames: 8, size_pixels: 32}
pretrain: {epochs: 1, batch_clips: 8}
finetune: {epochs: 1, batch_clips: 8, lr: 0.02}
distill: {epochs: 1, batch_clips: 8, lr: 0.02, num_micro_batches: PARTS}
"""
EXPERIMENT = """\
name: mine
title: Mine
vary: {target: [ucf101]}
teachers:
  T1: {title: T1, backbone: shufflenet_2x, target: $target}
  T2: {title: T2, backbone: r21d_10, target: $target}
student:
  title: Student
  backbone: shufflenet_2x
  target: $target
  teachers: [T1, T2]
controls:
  labels_only: {title: Labels only, teachers: []}
  other: {title: Other, FIELDS}
  plain: {title: Plain}
"""


@pytest.fixture
def plan(in_tmp: Path):
    (in_tmp / "profiles").mkdir()

    def plan_with(fields: str, *, micro_batches: int = 1) -> Plan:
        profile = PROFILE.replace("PARTS", str(micro_batches))
        (in_tmp / "profiles" / "small.yaml").write_text(profile)
        (in_tmp / "mine.yaml").write_text(EXPERIMENT.replace("FIELDS", fields))
        return make_plan([Path("mine.yaml")], profile="small", config=Config(), has_gpus=False)

    return plan_with


def recipe_of(plan: Plan, role: str) -> Distill:
    runs = {item.run.id: item.run for item in plan.runs}
    cell = next(c for c in plan.records[0].cells if c.role == role)
    recipe = runs[cell.run_id].recipe
    assert isinstance(recipe, Distill)
    return recipe


@pytest.mark.parametrize("name", LOSS_SPECS)
def test_the_recipe_has_the_weights_of_the_losses_terms_whoever_gave_them(plan, name: str) -> None:
    terms = LOSS_SPECS[name].terms
    usual, given = plan(f"loss: {name}"), plan(f"loss: {name}, loss_terms: {list(terms)}")
    assert recipe_of(usual, "other") == recipe_of(given, "other")
    assert recipe_of(usual, "other").loss_terms == terms


def test_the_usual_loss_is_the_run_of_a_student_that_names_none(plan) -> None:
    made = plan("loss: kl, label_smoothing: 0.0, feature_layers: []")
    assert recipe_of(made, "other") == recipe_of(made, "plain") == recipe_of(made, "student")


def test_labels_alone_know_of_no_loss_but_of_smoothed_labels(plan) -> None:
    fields = "teachers: [], loss: dist, standardized_logits: true, teacher_dropping: 0.5"
    made = plan(fields)
    assert recipe_of(made, "other") == recipe_of(made, "labels_only")
    smoothed = recipe_of(plan(f"{fields}, label_smoothing: 0.1"), "other")
    assert smoothed == dataclasses.replace(recipe_of(made, "labels_only"), label_smoothing=0.1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("loss: kd", "other.loss: no 'kd'. Did you mean 'dkd'?"),
        (
            "loss: dkd, loss_terms: [1]",
            "other.loss_terms: found [1.0], and the terms of dkd have 2",
        ),
        ("loss_terms: [1, 2]", "the terms of kl have none: leave it out"),
        ("feature_weight: 1.0", "other.feature_weight: found 1 with feature_loss ca-mkd and"),
        (
            "feature_weight: 1.0, feature_loss: hints, feature_layers: [layer9:conv5]",
            "other.feature_layers: layer9:conv5: ShuffleNet has no layer 'layer9'. Did you mean "
            "'layer3'? Layers: conv1, layer1, layer2, layer3, maxpool.",
        ),
        (
            "feature_weight: 1.0, feature_loss: hints, feature_layers: [layer3:conv7]",
            "other.feature_layers: layer3:conv7: no teacher has a layer 'conv7'. Did you mean",
        ),
        (
            "feature_weight: 1.0, feature_loss: hints, feature_layers: [layer3:conv5]",
            "other.feature_layers: found layer3:conv5, none of which is a layer of ShuffleNet.",
        ),
    ],
)
def test_what_does_not_fit_is_found(plan, fields: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(fields)
    assert message in str(caught.value)


def test_layers_that_each_teacher_can_follow_are_planned(plan) -> None:
    layers = "[layer2:conv4, layer3:conv5, layer3]"
    made = plan(f"feature_weight: 1.0, feature_loss: cosine-l1, feature_layers: {layers}")
    assert recipe_of(made, "other").feature_layers == ("layer2:conv4", "layer3:conv5", "layer3")


def test_a_batch_that_the_profile_parts_has_no_relations_between_all_of_its_clips(plan) -> None:
    with pytest.raises(UserError, match="other.loss: dist compares the clips of a whole batch"):
        plan("loss: dist", micro_batches=2)


@pytest.mark.parametrize(
    ("fields", "num_classes", "message"),
    [
        ("loss: dkd", 1, "loss: dkd needs at least 3 classes, and ucf101 has 1"),
        ("loss: dist", 2, "loss: dist needs at least 3 classes, and ucf101 has 2"),
        ("standardized_logits: true", 2, "standardized_logits: need at least 3 classes"),
    ],
)
def test_losses_need_classes(
    plan, monkeypatch: pytest.MonkeyPatch, fields: str, num_classes: int, message: str
) -> None:
    few = dataclasses.replace(DATASETS["ucf101"], num_classes=num_classes)
    monkeypatch.setitem(DATASETS, "ucf101", few)
    plan("loss: kl")
    with pytest.raises(UserError, match=message):
        plan(fields)
