"""Labels smoothed to the teachers' entropy have that entropy, and nothing else of the teachers."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.networks import DISTILL

from kdbatch.run.train.label_smoothing import smoothed_labels, smoothing_of_entropy
from kdbatch.run.train.steps import distill_loss

SMOOTHED = dataclasses.replace(
    DISTILL, soft_target="smoothed-labels", weighting="equal", temperature=3.0
)
LABEL = torch.tensor([0, 1, 2, 3])


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 4


def entropy(p_BK: torch.Tensor) -> float:
    return float(torch.special.entr(p_BK.double()).sum(1).mean())


@given(st.floats(0.0, 1.0), st.integers(2, 400))
def test_the_share_is_found_from_the_entropy(share: float, num_classes: int) -> None:
    wanted = share * math.log(num_classes)
    found = float(smoothing_of_entropy(torch.tensor(wanted, dtype=torch.float64), num_classes))
    p = torch.full((1, num_classes), found / num_classes, dtype=torch.float64)
    p[0, 0] += 1 - found
    assert entropy(p) == pytest.approx(wanted, abs=1e-9)


def test_smoothed_labels_are_as_uncertain_as_the_distributions_on_average() -> None:
    like_BK = logits(0, 4, 5).softmax(1)
    target_BK, share = smoothed_labels(LABEL, like_BK=like_BK)
    assert target_BK.dtype == like_BK.dtype and 0 < float(share) < 1
    assert entropy(target_BK) == pytest.approx(entropy(like_BK), abs=1e-5)
    assert torch.allclose(target_BK.sum(1), torch.ones(4))
    assert torch.equal(target_BK.argmax(1), LABEL)
    for row, label in zip(target_BK, LABEL.tolist(), strict=True):
        assert len(set(row[torch.arange(5) != label].tolist())) == 1  # other classes are alike


def test_certain_teachers_give_the_labels_themselves() -> None:
    certain = torch.eye(5)[[4, 3, 2, 1]]  # and wrong, which must not count
    assert torch.allclose(smoothed_labels(LABEL, like_BK=certain)[0], torch.eye(5)[:4], atol=1e-9)


def test_the_loss_knows_neither_the_classes_nor_the_clips_of_the_teachers() -> None:
    student, teacher_MBK = logits(1, 4, 5), logits(2, 2, 4, 5)
    step = distill_loss(student, teacher_MBK, LABEL, recipe=SMOOTHED)
    other_classes = teacher_MBK[:, :, [3, 0, 4, 1, 2]]
    other_clips = other_classes[:, [2, 3, 1, 0]]
    shuffled = distill_loss(student, other_clips, LABEL, recipe=SMOOTHED)
    assert float(shuffled.loss) == pytest.approx(float(step.loss), rel=1e-6)
    taught = dataclasses.replace(SMOOTHED, soft_target="teachers")
    with_teachers = distill_loss(student, teacher_MBK, LABEL, recipe=taught)
    assert float(with_teachers.loss) != pytest.approx(float(step.loss), rel=1e-2)
    assert "label_smoothing" in step.report and "label_smoothing" not in with_teachers.report


def test_the_loss_is_that_of_hinton_with_the_smoothed_labels_as_the_teacher() -> None:
    student, teacher_MBK = logits(1, 4, 5), logits(2, 2, 4, 5)
    step = distill_loss(student, teacher_MBK, LABEL, recipe=SMOOTHED)
    like_BK = (teacher_MBK / 3).softmax(-1).mean(0)
    target_BK, _ = smoothed_labels(LABEL, like_BK=like_BK)
    # a teacher with these logits predicts the smoothed labels at the temperature of the loss
    one_MBK = 3 * target_BK.log()[None]
    taught = dataclasses.replace(SMOOTHED, soft_target="teachers")
    same = distill_loss(student, one_MBK, LABEL, recipe=taught)
    assert float(step.loss) == pytest.approx(float(same.loss), rel=1e-5)
