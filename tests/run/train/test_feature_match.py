import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.networks import classifier, noise
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.run.models import Classifier, VideoBackbone
from kdbatch.run.train.feature_match import FeatureMatcher, feature_match_step
from kdbatch.run.train.optim import make_optimizer
from kdbatch.run.train.steps import distill_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Distill, Evaluation, Schedule
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.views import View

DATA = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="x")
RECIPE = Distill(
    backbone=Backbone(kind="shufflenet_2x"),
    data=DATA,
    view=View(),
    schedule=Schedule(epochs=1, batch_clips=4, lr=0.1, head_lr_factor=10.0),
    evaluation=Evaluation(test=DATA),
    weighting="ca-mkd",
    feature_weight=50.0,
)
LABEL_B = torch.tensor([0, 1, 2, 0])


def _models() -> tuple[FeatureMatcher, list[Classifier]]:
    """A student whose maps differ from both teachers' in channels and from one's in T, H and W."""
    torch.manual_seed(0)
    teachers = [
        classifier(kind, width=width).eval().requires_grad_(False)
        for kind, width in (("r21d_10", 0.03), ("shufflenet_2x", 0.08))
    ]
    return FeatureMatcher(classifier("shufflenet_2x"), teachers), teachers


def _reference_term(
    matcher: FeatureMatcher, teachers: list[Classifier], clip_BCTHW: Tensor
) -> float:
    """The feature term by loops over teachers and clips, in double precision."""
    student_map = matcher.student.backbone.forward_features(clip_BCTHW)
    total = 0.0
    for b in range(len(clip_BCTHW)):
        errors, losses = [], []
        for embed, teacher in zip(matcher.embed, teachers, strict=True):
            wanted = teacher.backbone.forward_features(clip_BCTHW)[b].double()
            embedded = F.interpolate(embed(student_map), size=wanted.shape[1:], mode="trilinear")
            own = embedded[b].double()
            squares = sum((own[d] - wanted[d]).square().sum() for d in range(len(wanted)))
            errors.append(float(squares / wanted.numel()))
            logit_K = teacher.fc.weight.double() @ own.mean((1, 2, 3)) + teacher.fc.bias.double()
            losses.append(float(torch.logsumexp(logit_K, 0) - logit_K[LABEL_B[b]]))
        share = torch.tensor(losses, dtype=torch.float64).softmax(0).tolist()
        total += sum((1 - share[m]) / (len(teachers) - 1) * errors[m] for m in range(len(teachers)))
    return total / len(clip_BCTHW)


def test_the_feature_term_equals_loops_over_teachers_and_clips() -> None:
    matcher, teachers = _models()
    clip_BCTHW = noise(4)
    step = feature_match_step(matcher, teachers, clip_BCTHW, LABEL_B, recipe=RECIPE)
    alone = distill_step(matcher.student, teachers, clip_BCTHW, LABEL_B, recipe=RECIPE)
    with torch.no_grad():
        feature = float(step.report["feature"])
        reference = _reference_term(matcher, teachers, clip_BCTHW)
        assert feature == pytest.approx(reference, rel=1e-4)
        assert float(step.loss) == pytest.approx(float(alone.loss) + 50 * feature, rel=1e-5)


def test_teachers_run_before_the_student_takes_memory() -> None:
    matcher, teachers = _models()
    called: list[VideoBackbone] = []
    backbones = [classifier.backbone for classifier in (matcher.student, *teachers)]
    for backbone in backbones:
        backbone.get_submodule(backbone.layer_names[0]).register_forward_hook(
            lambda *_, b=backbone: called.append(b)
        )
    feature_match_step(matcher, teachers, noise(4), LABEL_B, recipe=RECIPE)
    student, *others = backbones
    assert called == [*others, student]


def test_student_and_embeddings_are_trained_and_teachers_are_not() -> None:
    matcher, teachers = _models()
    before = [
        {name: value.clone() for name, value in teacher.state_dict().items()}
        for teacher in teachers
    ]
    optimizer = make_optimizer(matcher, RECIPE.schedule)
    clip_BCTHW, features = noise(4), []
    recipe = dataclasses.replace(RECIPE, hard_weight=0.0)
    for group in optimizer.param_groups:
        group["lr"] *= 0.05
    for _ in range(12):
        matcher.zero_grad()
        matcher.train()
        step = feature_match_step(matcher, teachers, clip_BCTHW, LABEL_B, recipe=recipe)
        step.loss.backward()
        features.append(float(step.report["feature"].detach()))
        optimizer.step()
    assert features[-1] < 0.8 * features[0]
    assert all(p.grad is not None for p in matcher.parameters() if p is not matcher.student.fc.bias)
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_embeddings_have_the_lr_of_the_head_and_not_of_the_backbone() -> None:
    matcher, _ = _models()
    slow, fast = (
        group["params"] for group in make_optimizer(matcher, RECIPE.schedule).param_groups
    )
    assert {id(p) for p in slow} == {id(p) for p in matcher.student.backbone.parameters()}
    assert {id(p) for p in fast} == {
        id(p) for module in (matcher.student.fc, matcher.embed) for p in module.parameters()
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weighting": "ae-kd"}, "It belongs to ca-mkd"),
        ({"feature_weight": -1.0}, "feature_weight: found -1. Write 0 to 1,000,000"),
        ({"teacher_views": 2}, "too large to be cached"),
    ],
)
def test_recipes_without_a_feature_term_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPE, **changed)
