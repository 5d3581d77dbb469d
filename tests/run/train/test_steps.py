import dataclasses
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from support.networks import DISTILL
from torch import nn

from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.train.steps import distill_step, finetune_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.distill import Distill


class ConstantNetwork(nn.Module):
    """A network whose output is a parameter."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        logit_BK = torch.randn(4, 5, generator=generator, dtype=torch.float64)
        self.logit_BK = nn.Parameter(logit_BK.float())

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.logit_BK


LABEL = torch.tensor([0, 1, 2, 3])
CLIP = torch.zeros(4, 3, 1, 1, 1)


def _gradient(recipe: Distill, teachers: Sequence[nn.Module]) -> torch.Tensor:
    student = ConstantNetwork(0)
    distill_step(student, teachers, CLIP, LABEL, recipe=recipe).loss.backward()
    assert student.logit_BK.grad is not None
    return student.logit_BK.grad


def test_the_soft_gradient_is_the_closed_form() -> None:
    recipe = dataclasses.replace(
        DISTILL, hard_weight=0.0, soft_weight=1.0, weighting="equal", temperature=3.0
    )
    student, teacher = ConstantNetwork(0).logit_BK.detach(), ConstantNetwork(1)
    expected = 3.0 * ((student / 3).softmax(-1) - (teacher.logit_BK.detach() / 3).softmax(-1)) / 4
    assert torch.allclose(_gradient(recipe, [teacher]), expected, atol=1e-6)


def test_one_kl_to_the_mixture_has_the_gradient_of_the_mean_of_kls() -> None:
    recipe = dataclasses.replace(DISTILL, hard_weight=0.0, soft_weight=1.0, weighting="equal")
    mean = (_gradient(recipe, [ConstantNetwork(1)]) + _gradient(recipe, [ConstantNetwork(2)])) / 2
    assert torch.allclose(
        _gradient(recipe, [ConstantNetwork(1), ConstantNetwork(2)]), mean, atol=1e-6
    )


def test_a_teacher_equal_to_the_student_adds_no_gradient() -> None:
    assert torch.allclose(
        _gradient(DISTILL, [ConstantNetwork(0)]), _gradient(DISTILL, []), atol=1e-6
    )


def test_without_teachers_the_loss_is_that_of_fine_tuning() -> None:
    hard = finetune_step(ConstantNetwork(0), CLIP, LABEL).loss
    assert torch.equal(distill_step(ConstantNetwork(0), [], CLIP, LABEL, recipe=DISTILL).loss, hard)


def test_the_soft_gradient_keeps_its_size_at_high_temperature() -> None:
    """At tau -> infinity the gradient tends to (centred student - centred teacher) / (K N): Hinton
    et al. 2015, eq. 4.
    """
    recipe = dataclasses.replace(
        DISTILL, hard_weight=0.0, soft_weight=1.0, weighting="equal", temperature=1000.0
    )
    student, teacher = ConstantNetwork(0).logit_BK.detach(), ConstantNetwork(1).logit_BK.detach()
    student_centred = student - student.mean(1, keepdim=True)
    teacher_centred = teacher - teacher.mean(1, keepdim=True)
    expected = (student_centred - teacher_centred) / (5 * 4)
    assert torch.allclose(_gradient(recipe, [ConstantNetwork(1)]), expected, atol=1e-3)


def test_ae_kd_weights_are_reported_and_no_gradient_reaches_a_teacher() -> None:
    student, teachers = ConstantNetwork(0), [ConstantNetwork(1), ConstantNetwork(2)]
    step = distill_step(student, teachers, CLIP, LABEL, recipe=DISTILL)
    step.loss.backward()
    weights = [float(step.report[f"teacher_weight_{m}"]) for m in range(2)]
    assert sum(weights) == pytest.approx(1)
    assert all(0.4 - 1e-6 <= w <= 0.6 + 1e-6 for w in weights)
    assert all(t.logit_BK.grad is None for t in teachers)
    hard = float(F.cross_entropy(student.logit_BK, LABEL).detach())
    soft = float(step.report["soft"].detach())
    assert float(step.loss.detach()) == pytest.approx(hard + 0.9 * soft, rel=1e-5)


def test_ca_mkd_is_the_sum_over_clips_and_teachers() -> None:
    """The loss is computed clip by clip, with the weights of Zhang et al. 2022."""
    recipe = dataclasses.replace(
        DISTILL, hard_weight=0.0, soft_weight=1.0, weighting="ca-mkd", temperature=2.0
    )
    student, teachers = (
        ConstantNetwork(0),
        [ConstantNetwork(1), ConstantNetwork(2), ConstantNetwork(3)],
    )
    expected = torch.zeros(())
    for b in range(4):
        loss_M = torch.stack([-t.logit_BK[b].log_softmax(0)[LABEL[b]] for t in teachers])
        weight_M = (1 - loss_M.softmax(0)) / 2
        assert float(weight_M.detach().sum()) == pytest.approx(1)
        for m, teacher in enumerate(teachers):
            p, q = (teacher.logit_BK[b] / 2).softmax(0), (student.logit_BK[b] / 2).softmax(0)
            kl = (p.detach() * (p.detach().log() - q.log())).sum()
            expected = expected + weight_M[m].detach() * kl * 4 / 4
    (expected_gradient,) = torch.autograd.grad(expected, student.logit_BK)
    assert torch.allclose(_gradient(recipe, teachers), expected_gradient, atol=1e-6)


@pytest.mark.parametrize("weighting", ["equal", "ae-kd", "ca-mkd"])
def test_teachers_keep_their_weights_and_their_statistics(weighting: str) -> None:
    torch.manual_seed(0)
    small = Backbone(kind="shufflenet_2x", width=0.0625)
    student = Classifier(build_backbone(small), num_classes=5)
    teachers = [
        Classifier(build_backbone(small), num_classes=5).eval().requires_grad_(False)
        for _ in range(2)
    ]
    before = [{name: value.clone() for name, value in t.state_dict().items()} for t in teachers]
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    recipe = dataclasses.replace(DISTILL, weighting=weighting)
    for _ in range(3):
        optimizer.zero_grad()
        clip_BCTHW = torch.randn(4, 3, 4, 32, 32)
        step = distill_step(student.train(), teachers, clip_BCTHW, LABEL, recipe=recipe)
        step.loss.backward()
        optimizer.step()
    for teacher, state in zip(teachers, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in teacher.state_dict().items())
    assert int(student.state_dict()["backbone.conv1.1.num_batches_tracked"]) == 3
