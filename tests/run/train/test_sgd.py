"""SGD equals that of PyTorch, bit for bit, and imports no compiler."""

import subprocess
import sys

import pytest
import torch
from support.optimizer_steps import same_weights, train
from torch import nn

from kdbatch.run.train.optimizers.sgd import FusedSGD

LR, STEPS = 0.1, 5


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), nn.Linear(3, 3))


def groups_of(model: nn.Sequential) -> list[tuple[list[nn.Parameter], float]]:
    return [(list(model[:3].parameters()), 1.0), (list(model[3].parameters()), 10.0)]


def ours(model: nn.Sequential, *, momentum: float = 0.9) -> FusedSGD:
    return FusedSGD(groups_of(model), lr=LR, momentum=momentum, weight_decay=5e-4)


def theirs(model: nn.Sequential, *, momentum: float = 0.9) -> torch.optim.SGD:
    groups = [{"params": params, "lr_factor": factor} for params, factor in groups_of(model)]
    return torch.optim.SGD(groups, lr=LR, momentum=momentum, weight_decay=5e-4, fused=True)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_weights_are_those_of_pytorch_bit_for_bit(momentum: float) -> None:
    one, two = network(), network()
    train(one, ours(one, momentum=momentum), range(STEPS), lr=LR)
    train(two, theirs(two, momentum=momentum), range(STEPS), lr=LR)
    assert same_weights(one, two) and not same_weights(one, network())


def test_the_state_of_pytorch_is_continued() -> None:
    one, two = network(), network()
    before, straight = theirs(one), theirs(two)
    train(one, before, range(2), lr=LR)
    after = ours(one)
    after.load_state_dict(before.state_dict())
    train(one, after, range(2, STEPS), lr=LR)
    train(two, straight, range(STEPS), lr=LR)
    assert same_weights(one, two)


def test_its_own_state_is_continued() -> None:
    one, two = network(), network()
    before = ours(one)
    train(one, before, range(2), lr=LR)
    after = ours(one)
    after.load_state_dict(before.state_dict())
    train(one, after, range(2, STEPS), lr=LR)
    train(two, ours(two), range(STEPS), lr=LR)
    assert same_weights(one, two)


def test_the_state_of_another_network_is_refused() -> None:
    model, other = network(), nn.Sequential(*[nn.Linear(7, 7) for _ in range(4)])
    optimizer = ours(other)
    for param in other.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    with pytest.raises(ValueError, match="another parameter"):
        ours(model).load_state_dict(optimizer.state_dict())


def test_a_step_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from kdbatch.run.train.optimizers.sgd import FusedSGD;"
        "p = torch.nn.Linear(2, 2);"
        "s = FusedSGD([(list(p.parameters()), 1.0)], lr=0.1, momentum=0.9, weight_decay=0.0);"
        "p(torch.ones(1, 2)).sum().backward(); s.step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
