"""SGD with momentum, as `torch.optim.SGD` with `fused=True`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class FusedSGD:
    """Updates parameters in place; `param_groups` have their rates (`lr`) and their `lr_factor`."""

    def __init__(
        self,
        groups: list[tuple[list[nn.Parameter], float]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        """`groups` are parameters with the factor of their learning rate."""
        self.momentum, self.weight_decay = momentum, weight_decay
        self.param_groups: list[dict[str, Any]] = [
            {"params": params, "lr": lr, "lr_factor": factor} for params, factor in groups
        ]
        self._buffer_of: dict[nn.Parameter, Tensor | None] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients; parameters without one stay as they are."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            buffers = [self._buffer_of.get(param) for param in params]
            sgd(
                params,
                [param.grad for param in params],
                buffers,
                fused=True,
                lr=group["lr"],
                momentum=self.momentum,
                weight_decay=self.weight_decay,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )
            if self.momentum:
                self._buffer_of.update(zip(params, buffers, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """The momentum of each parameter by its number, in the form of `torch.optim.SGD`."""
        buffers = enumerate(map(self._buffer_of.get, self._all_params()))
        state = {i: {"momentum_buffer": buffer} for i, buffer in buffers if buffer is not None}
        return {"state": state}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load what this class or `torch.optim.SGD` has saved.

        Raises:
            ValueError: it is that of other parameters.
        """
        params = self._all_params()
        for number, state in saved["state"].items():
            buffer = state["momentum_buffer"]
            if number >= len(params) or buffer.shape != params[number].shape:
                raise ValueError(f"momentum {number} is that of another parameter")
            self._buffer_of[params[number]] = buffer.to(params[number])

    def _all_params(self) -> list[nn.Parameter]:
        return [param for group in self.param_groups for param in group["params"]]
