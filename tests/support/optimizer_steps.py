"""Steps of small networks, for comparing an optimizer with PyTorch's."""

import torch
from torch import nn

from kdbatch.run.train.optimizers import Optimizer


def train(model: nn.Sequential, optimizer: Optimizer, steps: range, *, lr: float) -> None:
    """Train on random inputs that depend on the step alone, at a rate that falls from `lr`.

    Every third step leaves the last layer without a gradient.
    """
    for step in steps:
        torch.manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"] / (1 + step)
        model.zero_grad(set_to_none=True)
        used = model[:3] if step % 3 == 2 else model
        used(torch.randn(4, 6)).square().sum().backward()
        optimizer.step()


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
