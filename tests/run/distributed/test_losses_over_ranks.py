"""Two processes with half a batch each learn from teachers as one process does from all of it."""

import dataclasses
from typing import Any

import pytest
import torch
from support.networks import DISTILL
from support.processes import in_two_processes
from torch import Tensor

from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.train.feature_match import cosine_and_l1
from kdbatch.run.train.losses import LOSSES
from kdbatch.run.train.steps import distill_loss, teacher_weights

NUM = 8
LABEL = torch.arange(NUM) % 5
CASES = [(loss, weighting) for loss in LOSSES for weighting in ("equal", "ae-kd", "ca-mkd")]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def steps(group: ProcessGroup) -> dict[str, Any]:
    """The mean over ranks of the loss, and of its gradient by weights that all clips share."""
    own, found = slice(group.rank, None, group.world_size), {}
    for loss, weighting in CASES:
        recipe = dataclasses.replace(
            DISTILL,
            loss=loss,
            loss_terms={"kl": (), "dkd": (1.0, 2.0), "dist": (1.0, 2.0)}[loss],
            weighting=weighting,
            standardized_logits=True,
            teacher_dropping=0.5,
        )
        weight = torch.eye(5, dtype=torch.float64).requires_grad_()
        teacher_MBK = random(1, 3, NUM, 5)[:, own]
        logit_BK = 2 * random(0, NUM, 5)[own] @ weight
        torch.manual_seed(7)
        step = distill_loss(logit_BK, teacher_MBK, LABEL[own], recipe=recipe, group=group)
        step.loss.backward()
        assert weight.grad is not None
        torch.manual_seed(7)
        weight_MB = teacher_weights(logit_BK, teacher_MBK, LABEL[own], recipe=recipe, group=group)
        total = group.average_([weight.grad], step.loss.detach()[None])
        found[f"{loss} {weighting}"] = (weight_MB, weight.grad, total)
    own_map, wanted = random(2, NUM, 3, 2, 2, 2)[own], random(3, NUM, 3, 2, 2, 2)[own]
    found["cosine-l1"] = cosine_and_l1(own_map, wanted, group=group)
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return in_two_processes(steps, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize(("loss", "weighting"), CASES)
def test_weights_losses_and_gradients_are_those_of_the_whole_batch(
    two: list[dict[str, Any]], loss: str, weighting: str
) -> None:
    name = f"{loss} {weighting}"
    weight_MB, gradient, total = steps(SINGLE_PROCESS)[name]
    for rank in range(2):
        own_MB, own_gradient, own_total = two[rank][name]
        assert torch.allclose(own_MB, weight_MB[:, rank::2], atol=1e-6)
        assert torch.allclose(own_gradient, gradient, atol=1e-6)
        assert torch.allclose(own_total, total, atol=1e-6)


def test_a_teachers_map_is_standardised_over_the_whole_batch(two: list[dict[str, Any]]) -> None:
    error_B = steps(SINGLE_PROCESS)["cosine-l1"]
    for rank in range(2):
        assert torch.allclose(two[rank]["cosine-l1"], error_B[rank::2], atol=1e-9)
