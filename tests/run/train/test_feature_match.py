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


def _cast() -> tuple[FeatureMatcher, list[Classifier]]:
    """A student whose maps differ from its teachers' in channels, and from one's in frames, rows
    and columns.
    """
    torch.manual_seed(0)
    teachers = [
        classifier(kind, width=width).eval().requires_grad_(False)
        for kind, width in (("r21d_10", 0.03), ("shufflenet_2x", 0.08))
    ]
    return FeatureMatcher(classifier("shufflenet_2x"), teachers), teachers


def _slowly(matcher: FeatureMatcher, teachers: list[Classifier], clip_BCTHW: Tensor) -> float:
    """The second term by loops over teachers and clips, in double precision."""
    student_map = matcher.student.backbone.forward_features(clip_BCTHW)
    total = 0.0
    for b in range(len(clip_BCTHW)):
        errors, surprises = [], []
        for embed, teacher in zip(matcher.embed, teachers, strict=True):
            wanted = teacher.backbone.forward_features(clip_BCTHW)[b].double()
            own = F.interpolate(embed(student_map), size=wanted.shape[1:], mode="trilinear")[
                b
            ].double()
            errors.append(
                float(
                    sum((own[d] - wanted[d]).square().sum() for d in range(len(wanted)))
                    / wanted.numel()
                )
            )
            logit_K = teacher.fc.weight.double() @ own.mean((1, 2, 3)) + teacher.fc.bias.double()
            surprises.append(float(torch.logsumexp(logit_K, 0) - logit_K[LABEL_B[b]]))
        share = torch.tensor(surprises, dtype=torch.float64).softmax(0).tolist()
        total += sum((1 - share[m]) / (len(teachers) - 1) * errors[m] for m in range(len(teachers)))
    return total / len(clip_BCTHW)


def test_the_term_is_that_of_loops_over_teachers_and_clips() -> None:
    taught, teachers = _cast()
    clip_BCTHW = noise(4)
    step = feature_match_step(taught, teachers, clip_BCTHW, LABEL_B, recipe=RECIPE)
    alone = distill_step(taught.student, teachers, clip_BCTHW, LABEL_B, recipe=RECIPE)
    with torch.no_grad():
        assert float(step.report["feature"]) == pytest.approx(
            _slowly(taught, teachers, clip_BCTHW), rel=1e-4
        )
        assert float(step.loss) == pytest.approx(
            float(alone.loss) + 50 * float(step.report["feature"]), rel=1e-5
        )


def test_teachers_are_asked_before_the_student_needs_room() -> None:
    taught, teachers = _cast()
    asked: list[VideoBackbone] = []
    backbones = [classifier.backbone for classifier in (taught.student, *teachers)]
    for backbone in backbones:
        backbone.get_submodule(backbone.layer_names[0]).register_forward_hook(
            lambda *_, b=backbone: asked.append(b)
        )
    feature_match_step(taught, teachers, noise(4), LABEL_B, recipe=RECIPE)
    student, *others = backbones
    assert asked == [*others, student]


def test_student_and_embeddings_learn_and_no_teacher_does() -> None:
    taught, teachers = _cast()
    before = [
        {name: value.clone() for name, value in teacher.state_dict().items()}
        for teacher in teachers
    ]
    optimizer, clip_BCTHW, features = make_optimizer(taught, RECIPE.schedule), noise(4), []
    for group in optimizer.param_groups:
        group["lr"] *= 0.05
    for _ in range(12):
        optimizer.zero_grad()
        step = feature_match_step(
            taught.train(),
            teachers,
            clip_BCTHW,
            LABEL_B,
            recipe=dataclasses.replace(RECIPE, hard_weight=0.0),
        )
        step.loss.backward()
        features.append(float(step.report["feature"].detach()))
        optimizer.step()
    assert features[-1] < 0.8 * features[0]
    assert all(p.grad is not None for p in taught.parameters() if p is not taught.student.fc.bias)
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())


def test_the_students_backbone_keeps_its_rate_and_embeddings_have_that_of_heads() -> None:
    taught, _ = _cast()
    slow, fast = (group["params"] for group in make_optimizer(taught, RECIPE.schedule).param_groups)
    assert {id(p) for p in slow} == {id(p) for p in taught.student.backbone.parameters()}
    assert {id(p) for p in fast} == {
        id(p) for module in (taught.student.fc, taught.embed) for p in module.parameters()
    }


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"weighting": "ae-kd"}, "It belongs to ca-mkd"),
        ({"feature_weight": -1.0}, "0 or more"),
        ({"teacher_views": 2}, "too large to be remembered"),
    ],
)
def test_what_makes_no_term_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        dataclasses.replace(RECIPE, **changed)
