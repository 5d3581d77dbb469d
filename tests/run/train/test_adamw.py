"""AdamW equals that of PyTorch, bit for bit; it decays the weights of layers alone."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.networks import classifier
from support.optimizer_steps import same_weights, train
from support.training import SCHEDULE, run
from torch import nn

from kdbatch.run.heartbeat import Stopped
from kdbatch.run.train.optim import make_optimizer
from kdbatch.run.train.optimizers.adamw import FusedAdamW
from kdbatch.run.train.optimizers.sgd import FusedSGD

LR, STEPS, DECAY = 0.01, 5, 0.05
ADAMW = dataclasses.replace(SCHEDULE, optimizer="adamw", lr=LR, weight_decay=DECAY)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 3), nn.Linear(3, 3))


def ours(model: nn.Sequential) -> FusedAdamW:
    groups = [(list(model[:3].parameters()), 1.0, DECAY), (list(model[3].parameters()), 10.0, 0.0)]
    return FusedAdamW(groups, lr=LR, beta1=0.9)


def theirs(model: nn.Sequential) -> torch.optim.AdamW:
    groups = [
        {"params": list(model[:3].parameters()), "lr_factor": 1.0, "weight_decay": DECAY},
        {"params": list(model[3].parameters()), "lr_factor": 10.0, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR, fused=True)


def test_the_weights_are_those_of_pytorch_bit_for_bit() -> None:
    one, two = network(), network()
    train(one, ours(one), range(STEPS), lr=LR)
    train(two, theirs(two), range(STEPS), lr=LR)
    assert same_weights(one, two) and not same_weights(one, network())


@pytest.mark.parametrize("make", [ours, theirs])
def test_its_own_state_and_that_of_pytorch_are_continued(make) -> None:
    one, two = network(), network()
    before = make(one)
    train(one, before, range(2), lr=LR)
    after = ours(one)
    after.load_state_dict(before.state_dict())
    train(one, after, range(2, STEPS), lr=LR)
    train(two, ours(two), range(STEPS), lr=LR)
    assert same_weights(one, two)


def test_the_state_of_another_network_is_refused() -> None:
    other = nn.Sequential(*[nn.Linear(7, 7) for _ in range(4)])
    optimizer = ours(other)
    for param in other.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step()
    with pytest.raises(ValueError, match="another parameter"):
        ours(network()).load_state_dict(optimizer.state_dict())


def test_weights_are_decayed_and_norms_biases_and_tables_of_positions_are_not() -> None:
    model = classifier("swin3d_t")
    optimizer = make_optimizer(model, ADAMW)
    assert isinstance(optimizer, FusedAdamW)
    names = {parameter: name for name, parameter in model.named_parameters()}
    of = {
        names[parameter]: (group["weight_decay"], group["lr_factor"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert len(of) == len(names)
    block = "backbone.features.0.0"
    assert of[f"{block}.attn.qkv.weight"] == of[f"{block}.mlp.0.weight"] == (DECAY, 1.0)
    assert of["backbone.patch_embed.proj.weight"] == (DECAY, 1.0)
    for name in ("attn.relative_position_bias_table", "norm1.weight", "mlp.0.bias"):
        assert of[f"{block}.{name}"] == (0.0, 1.0)
    assert of["fc.weight"] == (DECAY, 2.0) and of["fc.bias"] == (0.0, 2.0)


def test_a_schedule_without_the_field_is_trained_by_sgd() -> None:
    assert isinstance(make_optimizer(classifier("r21d_10"), SCHEDULE), FusedSGD)


def test_a_training_is_resumed_bit_for_bit_and_differs_from_that_of_sgd(tmp_path: Path) -> None:
    state, _ = run(tmp_path / "whole", schedule=ADAMW)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", schedule=ADAMW, stop_at=4)
    resumed, _ = run(tmp_path / "stopped", schedule=ADAMW)
    assert all(torch.equal(value, state[name]) for name, value in resumed.items())
    by_sgd, _ = run(tmp_path / "sgd", schedule=dataclasses.replace(ADAMW, optimizer="sgd"))
    assert not torch.equal(by_sgd["fc.weight"], state["fc.weight"])


def test_a_step_imports_no_compiler() -> None:
    code = (
        "import sys, torch; from kdbatch.run.train.optimizers.adamw import FusedAdamW;"
        "p = torch.nn.Linear(2, 2);"
        "s = FusedAdamW([(list(p.parameters()), 1.0, 0.1)], lr=0.1, beta1=0.9);"
        "p(torch.ones(1, 2)).sum().backward(); s.step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
