import subprocess
import sys

import pytest
import torch
from torch import nn

from kdbatch.run.sgd import Sgd


def _layers() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((7, 3), (33,), (2, 2, 3, 3, 3))]


def _ours(parameters: list[nn.Parameter], momentum: float) -> Sgd:
    return Sgd([(parameters[:2], 1.0), (parameters[2:], 10.0)], rate=0.1, momentum=momentum, weight_decay=0.01)


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_it_moves_as_pytorchs_own_does_bit_for_bit(momentum: float) -> None:
    mine, theirs = _layers(), _layers()
    ours = _ours(mine, momentum)
    groups = [{"params": theirs[:2]}, {"params": theirs[2:]}]
    reference = torch.optim.SGD(groups, lr=0.1, momentum=momentum, weight_decay=0.01, fused=True)
    for step in range(5):
        ours.rate = 0.1 / (step + 1)
        reference.param_groups[0]["lr"], reference.param_groups[1]["lr"] = ours.rate, ours.rate * 10.0
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        if step in (1, 3):  # nothing learnt here: as where a layer is not used
            mine[1].grad = theirs[1].grad = None
        ours.step()
        reference.step()
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)), step


def test_a_copy_with_its_state_goes_on_as_it_would() -> None:
    mine, other = _layers(), _layers()
    ours, later = _ours(mine, 0.9), _ours(other, 0.9)
    for parameter in mine:
        parameter.grad = torch.ones_like(parameter)
    ours.step()
    for a, b in zip(mine, other, strict=True):
        b.data.copy_(a)
        b.grad = a.grad
    later.load_state_dict(ours.state_dict())
    ours.step()
    later.step()
    assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert not torch.equal(mine[0], _layers()[0])


@pytest.mark.parametrize("damage", [lambda m: m[:2], lambda m: [m[0].T, *m[1:]], lambda m: [*m, m[0]]])
def test_the_state_of_other_parameters_is_refused(damage) -> None:
    ours = _ours(_layers(), 0.9)
    with pytest.raises(ValueError):
        ours.load_state_dict({"momenta": damage(ours.state_dict()["momenta"])})


def test_a_worker_that_trains_does_not_import_the_compiler() -> None:
    """A second and more of every run, where nothing is compiled; sympy comes with it."""
    code = """
import sys, torch
import kdbatch.run.main
from kdbatch.run.learn import make_optimizer
from kdbatch.vocab.recipes import Schedule
model = torch.nn.Linear(2, 2)
optimizer = make_optimizer(model, Schedule(epochs=1, batch_clips=1, lr=0.1))
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
