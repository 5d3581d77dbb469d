import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.networks import classifier, noise
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.run.models import Classifier, VideoBackbone
from kdbatch.run.train.feature_match import FEATURE_LOSSES, FeatureMatcher, feature_match_step
from kdbatch.run.train.optim import make_optimizer
from kdbatch.run.train.steps import distill_step, teacher_weights
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.distillation.feature_layers import FEATURE_LOSS_NAMES
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
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
    return FeatureMatcher(classifier("shufflenet_2x"), teachers, recipe=RECIPE), teachers


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


def _layered(kind: str, *layers: str) -> tuple[FeatureMatcher, list[Classifier], Distill]:
    """A student and teachers in float64, whose named layers are compared by `kind`."""
    recipe = dataclasses.replace(
        RECIPE,
        weighting="ae-kd",
        feature_loss=kind,
        feature_layers=layers,
        view=View(num_frames=4, size_pixels=24),
    )
    torch.manual_seed(1)
    teachers = [
        classifier(kind, width=width).eval().requires_grad_(False)
        for kind, width in (("r21d_10", 0.03), ("shufflenet_2x", 0.08), ("r21d_10", 0.05))
    ]
    matcher = FeatureMatcher(classifier("shufflenet_2x"), teachers, recipe=recipe)
    return matcher.double(), [teacher.double() for teacher in teachers], recipe


def _slow_error(kind: str, own: Tensor, wanted: Tensor) -> list[float]:
    """The error of each clip, position by position."""
    if kind == "hints":
        return [float(((o - w) ** 2).sum() / w.numel()) for o, w in zip(own, wanted, strict=True)]
    for d in range(wanted.shape[1]):
        values = wanted[:, d].flatten().tolist()
        mean = sum(values) / len(values)
        variance = sum((x - mean) ** 2 for x in values) / len(values)
        wanted[:, d] = (wanted[:, d] - mean) / math.sqrt(variance + 1e-5)
    errors = []
    for b in range(len(own)):
        at = []
        for place in itertools.product(*map(range, own.shape[2:])):
            x, y = (v[(b, slice(None), *place)].tolist() for v in (own, wanted))
            dot = sum(p * q for p, q in zip(x, y, strict=True))
            cosine = dot / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y))
            apart = [abs(p - q) for p, q in zip(x, y, strict=True)]
            l1 = sum(a - 0.5 if a >= 1 else a * a / 2 for a in apart) / len(apart)
            at.append((1 - cosine) / 2 + l1 / 2)
        errors.append(sum(at) / len(at))
    return errors


@pytest.mark.parametrize("kind", ["hints", "cosine-l1"])
@pytest.mark.parametrize("layers", [(), ("layer1:conv3", "layer2:conv4", "layer2", "layer3:conv5")])
def test_errors_of_named_layers_equal_loops_over_teachers_pairs_and_positions(
    kind: str, layers: tuple[str, ...]
) -> None:
    matcher, teachers, recipe = _layered(kind, *layers)
    clip_BCTHW = noise(4).double()
    step = feature_match_step(matcher, teachers, clip_BCTHW, LABEL_B, recipe=recipe)
    alone = distill_step(matcher.student, teachers, clip_BCTHW, LABEL_B, recipe=recipe)
    followed = [3, 1, 3] if layers else [1, 1, 1]
    errors: list[list[list[float]]] = [[] for _ in teachers]
    with torch.no_grad():
        pairs = zip(matcher.embed, matcher.pairs, strict=True)
        for embed, (m, own_name, wanted_name) in pairs:
            own = _map_after(matcher.student.backbone, own_name, clip_BCTHW)
            wanted = _map_after(teachers[m].backbone, wanted_name, clip_BCTHW).float().double()
            own = F.interpolate(embed(own).float(), size=wanted.shape[2:], mode="trilinear")
            errors[m].append(_slow_error(kind, own.double(), wanted))
        assert [len(e) for e in errors] == followed
        logits = [teacher(clip_BCTHW).float() for teacher in teachers]
        own_logits = matcher.student(clip_BCTHW).float()
        weight_MB = teacher_weights(own_logits, torch.stack(logits), LABEL_B, recipe=recipe)
        mean = [[sum(e[b] for e in es) / len(es) for b in range(4)] for es in errors]
        slow = sum(float(weight_MB[m, b]) * mean[m][b] for m in range(3) for b in range(4)) / 4
        assert float(step.report["feature"]) == pytest.approx(slow, rel=1e-3)
        assert float(step.loss) == pytest.approx(float(alone.loss) + 50 * slow, rel=1e-3)


def _map_after(backbone: VideoBackbone, name: str, map_: Tensor) -> Tensor:
    for layer in backbone.layer_names:
        map_ = backbone.get_submodule(layer)(map_)
        if layer == name:
            break
    return map_


@pytest.mark.parametrize("kind", ["hints", "cosine-l1"])
def test_the_gradient_of_a_feature_error_equals_differences(kind: str) -> None:
    error, _ = FEATURE_LOSSES[kind]
    rng = torch.Generator().manual_seed(0)
    own, wanted = torch.randn(2, 2, 3, 2, 2, 2, generator=rng, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: error(x, wanted), own.requires_grad_())


@pytest.mark.parametrize("kind", ["hints", "cosine-l1"])
def test_students_of_named_layers_come_nearer_to_all_teachers(kind: str) -> None:
    matcher, teachers, recipe = _layered(kind, "layer2:conv4", "layer2")
    recipe = dataclasses.replace(recipe, hard_weight=0.0, soft_weight=0.0, feature_weight=1.0)
    optimizer = torch.optim.Adam(matcher.parameters(), lr=3e-3)
    clip_BCTHW, features = noise(4).double(), []
    for _ in range(12):
        optimizer.zero_grad()
        step = feature_match_step(matcher, teachers, clip_BCTHW, LABEL_B, recipe=recipe)
        step.loss.backward()
        features.append(float(step.report["feature"].detach()))
        optimizer.step()
    assert features[-1] < 0.8 * features[0]


def test_a_plan_knows_every_feature_loss() -> None:
    assert FEATURE_LOSSES.keys() == set(FEATURE_LOSS_NAMES)


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
        ({"feature_layers": ("layer3:conv5",)}, "ca-mkd compares the last feature maps alone"),
        ({"feature_layers": (":conv5",)}, "feature_layers: found ':conv5'"),
        ({"feature_loss": "hint"}, "feature_loss: no 'hint'. Did you mean 'hints'"),
        ({"feature_weight": -1.0}, "feature_weight: found -1. Write 0 to 1,000,000"),
        ({"teacher_views": 2}, "too large to be cached"),
    ],
)
def test_recipes_without_a_feature_term_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RECIPE, **changed)
