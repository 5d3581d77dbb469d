"""Each loss equals its paper's equation, written as plain loops over floats."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.networks import DISTILL
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.run.train.label_smoothing import smoothed_labels
from kdbatch.run.train.losses import LOSSES, drop_teachers, kl, logit_gradients, teacher_losses
from kdbatch.run.train.steps import distill_loss, teacher_weights
from kdbatch.run.train.weighting import WEIGHTINGS
from kdbatch.vocab.distillation.losses import LOSS_SPECS
from kdbatch.vocab.recipes.distill import Distill

Rows = list[list[float]]
LABEL = torch.tensor([0, 2, 4, 1, 2, 3])
TERMS = {"kl": (), "dkd": (0.7, 3.0), "dist": (1.5, 0.4)}


def logits(seed: int, *shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64) * 3


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def divergence(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def pearson(x: list[float], y: list[float]) -> float:
    mx, my = sum(x) / len(x), sum(y) / len(y)
    cov = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return cov / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def slow_kl(own: Rows, wanted: Rows, labels: list[int], terms: tuple[float, ...]) -> list[float]:
    return [divergence(softmax(w), softmax(o)) for o, w in zip(own, wanted, strict=True)]


def slow_dkd(own: Rows, wanted: Rows, labels: list[int], terms: tuple[float, ...]) -> list[float]:
    found = []
    for o, w, label in zip(own, wanted, labels, strict=True):
        p_own, p_wanted = softmax(o), softmax(w)
        target = divergence(
            [p_wanted[label], 1 - p_wanted[label]], [p_own[label], 1 - p_own[label]]
        )
        rest = [softmax([x for k, x in enumerate(row) if k != label]) for row in (w, o)]
        found.append(terms[0] * target + terms[1] * divergence(*rest))
    return found


def slow_dist(own: Rows, wanted: Rows, labels: list[int], terms: tuple[float, ...]) -> list[float]:
    p_own, p_wanted = [softmax(o) for o in own], [softmax(w) for w in wanted]
    columns = range(len(own[0]))
    intra = sum(
        1 - pearson([p[k] for p in p_own], [p[k] for p in p_wanted]) for k in columns
    ) / len(columns)
    inter = [1 - pearson(a, b) for a, b in zip(p_own, p_wanted, strict=True)]
    return [terms[0] * x + terms[1] * intra for x in inter]


def slow_standardized(row: list[float]) -> list[float]:
    mean = sum(row) / len(row)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row))
    return [(x - mean) / deviation for x in row]


SLOW: dict[str, Callable[..., list[float]]] = {"kl": slow_kl, "dkd": slow_dkd, "dist": slow_dist}


def recipe_of(name: str, **fields: Any) -> Distill:
    given = {"loss_terms": TERMS[name], "weighting": "equal", "temperature": 2.5} | fields
    return dataclasses.replace(DISTILL, loss=name, **given)


def slow_losses(own_BK: Tensor, teacher_MBK: Tensor, recipe: Distill) -> Tensor:
    """temperature^2 times the loss of each teacher and clip."""

    def rows(logit_BK: Tensor) -> Rows:
        given = logit_BK.tolist()
        given = [slow_standardized(row) for row in given] if recipe.standardized_logits else given
        return [[x / recipe.temperature for x in row] for row in given]

    found = [
        SLOW[recipe.loss](rows(own_BK), rows(teacher_BK), LABEL.tolist(), recipe.loss_terms)
        for teacher_BK in teacher_MBK
    ]
    return torch.tensor(found, dtype=torch.float64) * recipe.temperature**2


def test_a_plan_knows_every_loss() -> None:
    assert LOSSES.keys() == LOSS_SPECS.keys() == SLOW.keys()


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("num_teachers", [1, 3])
def test_a_loss_equals_its_equation_and_its_gradient_the_differences(
    name: str, num_teachers: int, standardized: bool
) -> None:
    recipe = recipe_of(name, standardized_logits=standardized)
    own_BK, teacher_MBK = logits(0, 6, 5), logits(1, num_teachers, 6, 5)
    found_MB = teacher_losses(own_BK, teacher_MBK, LABEL, recipe=recipe)
    assert torch.allclose(found_MB, slow_losses(own_BK, teacher_MBK, recipe), atol=1e-6)
    gradient_MBK = logit_gradients(own_BK, teacher_MBK, LABEL, recipe=recipe)
    step = 1e-5
    for b, k in ((0, 0), (1, 3), (5, 4)):
        moved = [own_BK.clone(), own_BK.clone()]
        moved[0][b, k] += step
        moved[1][b, k] -= step
        more_M, less_M = (slow_losses(x, teacher_MBK, recipe).sum(1) for x in moved)
        assert torch.allclose(gradient_MBK[:, b, k], (more_M - less_M) / (2 * step), atol=1e-5)


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", SLOW)
def test_teachers_are_weighed_clip_by_clip_and_the_step_has_that_gradient(
    name: str, weighting: str, standardized: bool
) -> None:
    """The gradient is that of mean_b sum_m w_mb L_mb with fixed weights, plus the labels'."""
    recipe = recipe_of(name, weighting=weighting, standardized_logits=standardized)
    own_BK, teacher_MBK = logits(2, 6, 5).requires_grad_(), logits(3, 3, 6, 5)
    step = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe)
    (found,) = torch.autograd.grad(step.loss, own_BK)
    weight_MB = teacher_weights(own_BK, teacher_MBK, LABEL, recipe=recipe)
    assert torch.allclose(weight_MB.sum(0), torch.ones(6))
    loss_MB = teacher_losses(own_BK, teacher_MBK, LABEL, recipe=recipe)
    total = 0.9 * (weight_MB * loss_MB).sum(0).mean() + F.cross_entropy(own_BK, LABEL)
    (wanted,) = torch.autograd.grad(total, own_BK)
    assert torch.allclose(found, wanted, atol=1e-6)
    if name != "kl":  # to several teachers that is one KL, up to a constant
        slow_B = (weight_MB * slow_losses(own_BK.detach(), teacher_MBK, recipe)).sum(0)
        soft = float(step.report["soft"].detach())
        assert soft == pytest.approx(float(slow_B.mean()), rel=1e-5)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("name", SLOW)
def test_one_teacher_has_all_the_weight_and_is_never_dropped(name: str, weighting: str) -> None:
    recipe = recipe_of(name, weighting=weighting, max_teacher_weight=1.0, teacher_dropping=0.9)
    own_BK, teacher_MBK = logits(4, 6, 5), logits(5, 1, 6, 5)
    step = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe)
    slow = slow_losses(own_BK, teacher_MBK, recipe).mean()
    assert float(step.report["soft"]) == pytest.approx(float(slow), rel=1e-5)


def test_ae_kd_weighs_by_the_gradients_of_the_loss_itself() -> None:
    own_BK, teacher_MBK = logits(6, 6, 5), logits(7, 2, 6, 5)
    first = {}
    for name in SLOW:
        recipe = recipe_of(name, weighting="ae-kd", max_teacher_weight=1.0)
        weight_MB = teacher_weights(own_BK, teacher_MBK, LABEL, recipe=recipe)
        mean_MK = logit_gradients(own_BK, teacher_MBK, LABEL, recipe=recipe).mean(1)
        a, b = mean_MK
        best = float(((b - a) @ b / (b - a).square().sum()).clamp(0, 1))  # of least norm
        assert float(weight_MB[0, 0]) == pytest.approx(best, abs=1e-6)
        first[name] = round(best, 3)
    assert len(set(first.values())) == 3


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("soft_target", ["teachers", "smoothed-labels"])
def test_kl_is_bit_for_bit_what_it_was_before_there_were_others(
    weighting: str, soft_target: str
) -> None:
    recipe = dataclasses.replace(DISTILL, weighting=weighting, soft_target=soft_target)
    own_BK, teacher_MBK = logits(8, 6, 5).float().requires_grad_(), logits(9, 2, 6, 5).float()
    step = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe)
    (found,) = torch.autograd.grad(step.loss, own_BK)
    tau = recipe.temperature
    with torch.no_grad():
        soft_MBK = (teacher_MBK / tau).softmax(-1)
        weight_MB = WEIGHTINGS[weighting](
            tau * ((own_BK / tau).softmax(-1) - soft_MBK),
            teacher_MBK=teacher_MBK,
            label_B=LABEL,
            max_weight=recipe.max_teacher_weight,
        ).float()
        target_BK = (weight_MB[:, :, None] * soft_MBK).sum(0)
        if soft_target != "teachers":
            target_BK, _ = smoothed_labels(LABEL, like_BK=target_BK)
    soft = F.kl_div((own_BK / tau).log_softmax(-1), target_BK, reduction="batchmean") * tau**2
    loss = recipe.hard_weight * F.cross_entropy(own_BK, LABEL) + recipe.soft_weight * soft
    (wanted,) = torch.autograd.grad(loss, own_BK)
    assert torch.equal(step.loss, loss) and torch.equal(found, wanted)


def test_dkd_with_beta_as_in_its_equation_6_is_kl() -> None:
    own_BK, teacher_BK = logits(10, 6, 5), logits(11, 6, 5)
    rest_B = 1 - teacher_BK.softmax(1)[torch.arange(6), LABEL]
    for b in range(6):
        clip = slice(b, b + 1)
        given = own_BK[clip], teacher_BK[clip], LABEL[clip]
        same = LOSSES["dkd"](*given, terms=(1.0, float(rest_B[b])))
        assert float(same) == pytest.approx(float(kl(*given, terms=())), rel=1e-9)


def test_dist_asks_for_relations_only() -> None:
    """Predictions that are an increasing line of the teacher's cost nothing."""
    teacher_BK = logits(12, 6, 5)
    own_BK = (0.3 * teacher_BK.softmax(1) + 0.7 / 5).log()
    found = LOSSES["dist"](own_BK, teacher_BK, LABEL, terms=(1.0, 1.0))
    assert torch.allclose(found, torch.zeros(6, dtype=torch.float64), atol=1e-9)
    assert float(kl(own_BK, teacher_BK, LABEL, terms=()).min()) > 0.01


def test_standardised_logits_forget_the_scale_and_the_mean_of_either_network() -> None:
    recipe = recipe_of("kl", standardized_logits=True)
    own_BK, teacher_MBK = logits(13, 6, 5), logits(14, 2, 6, 5)
    given = teacher_losses(own_BK, teacher_MBK, LABEL, recipe=recipe)
    scaled = teacher_losses(7 * own_BK + 3, 0.2 * teacher_MBK - 1, LABEL, recipe=recipe)
    assert torch.allclose(given, scaled, atol=1e-6)


@pytest.mark.parametrize("extreme", [0.0, 300.0])
@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("name", SLOW)
def test_equal_and_extreme_logits_give_finite_losses_and_gradients(
    name: str, standardized: bool, extreme: float
) -> None:
    recipe = recipe_of(name, standardized_logits=standardized, temperature=1.0)
    own_BK = (extreme * torch.eye(6, 5)).requires_grad_()
    teacher_MBK = extreme * torch.eye(6, 5).flip(0)[None].repeat(2, 1, 1)
    loss = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe).loss
    (gradient,) = torch.autograd.grad(loss, own_BK)
    assert torch.isfinite(loss) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["dkd", "dist"])
def test_labels_as_uncertain_as_the_teachers_are_a_control_of_every_loss(name: str) -> None:
    recipe = recipe_of(name, soft_target="smoothed-labels")
    own_BK, teacher_MBK = logits(15, 6, 5), logits(16, 2, 6, 5)
    step = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe)
    share = float(step.report["label_smoothing"])
    target_BK = (1 - share) * F.one_hot(LABEL, 5).double() + share / 5
    teacher = recipe.temperature * target_BK.log()[None]
    assert float(step.report["soft"]) == pytest.approx(
        float(slow_losses(own_BK, teacher, recipe).mean()), rel=1e-4
    )


def test_the_labels_of_students_and_of_controls_can_be_smoothed() -> None:
    recipe = recipe_of("kl", label_smoothing=0.3)
    own_BK, teacher_MBK = logits(17, 6, 5), logits(18, 2, 6, 5)
    hard = distill_loss(own_BK, teacher_MBK, LABEL, recipe=recipe).report["hard"]
    total = 0.0
    for row, label in zip(own_BK.tolist(), LABEL.tolist(), strict=True):
        p = softmax(row)
        total -= sum((0.7 * (k == label) + 0.3 / 5) * math.log(p[k]) for k in range(5))
    assert float(hard) == pytest.approx(total / 6, rel=1e-6)
    assert recipe.without_teachers().label_smoothing == 0.3


def test_dropping_keeps_the_teacher_of_the_highest_loss_and_others_as_often_as_it_says() -> None:
    weight_MB = torch.tensor([[0.5], [0.3], [0.2]]).repeat(1, 20_000)
    loss_MB = torch.rand(3, 20_000, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    found_MB = drop_teachers(weight_MB, loss_MB, probability=0.25)
    assert torch.allclose(found_MB.sum(0), torch.ones(20_000))
    highest_B = loss_MB.argmax(0)
    assert (found_MB.gather(0, highest_B[None]) > 0).all()
    others = F.one_hot(highest_B, 3).T == 0
    assert float((found_MB[others] > 0).float().mean()) == pytest.approx(0.75, abs=0.01)
    kept = found_MB > 0
    share_MB = weight_MB * kept / (weight_MB * kept).sum(0)
    assert torch.allclose(found_MB, share_MB)


def test_a_clip_whose_other_teachers_have_no_weight_learns_from_the_highest_loss() -> None:
    weight_MB, loss_MB = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [1.0]])
    torch.manual_seed(0)
    found = {float(drop_teachers(weight_MB, loss_MB, probability=0.5)[0, 0]) for _ in range(40)}
    assert found == {0.0, 1.0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": "dkdd"}, "loss: no 'dkdd'. Did you mean 'dkd'?"),
        ({"loss": "dkd", "loss_terms": (1.0,)}, r"the terms of dkd have 2 weights"),
        ({"loss": "dkd", "loss_terms": ()}, r"the terms of dkd have 2 weights"),
        ({"loss_terms": (1.0,)}, "the terms of kl have none: leave it out"),
        ({"loss": "dkd", "loss_terms": (-1.0, 1.0)}, r"loss_terms\[0\]: found -1"),
        ({"teacher_dropping": 1.0}, "teacher_dropping: found 1"),
        ({"label_smoothing": 1.0}, "label_smoothing: found 1"),
    ],
)
def test_recipes_of_losses_that_do_not_exist_are_refused(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(DISTILL, **changed)


def test_a_loss_that_compares_clips_needs_the_whole_batch() -> None:
    schedule = dataclasses.replace(DISTILL.schedule, num_micro_batches=2)
    dataclasses.replace(recipe_of("dkd"), schedule=schedule)
    with pytest.raises(UserError, match="loss: dist compares the clips of a whole batch"):
        dataclasses.replace(recipe_of("dist"), schedule=schedule)
