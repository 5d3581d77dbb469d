"""Optimizers: the arithmetic is PyTorch's own, without the import of a compiler.

The constructors of PyTorch's optimizers import torch._dynamo, with 900 modules: 1 to 2 seconds of
each process that trains. The form of the state is PyTorch's too.
"""

from typing import Any, Protocol


class Optimizer(Protocol):
    """Updates parameters in place; `param_groups` have their rates (`lr`) and their `lr_factor`."""

    param_groups: list[dict[str, Any]]

    def step(self) -> None:
        """Take a step along the gradients; parameters without one stay as they are."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step needs of the steps before, by the parameters' numbers."""
        ...

    def load_state_dict(self, saved: dict[str, Any], /) -> None:
        """Load what `state_dict` has returned; ValueError if it is that of other parameters."""
        ...
