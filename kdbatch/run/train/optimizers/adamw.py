"""AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), as `torch.optim.AdamW` with `fused=True`."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

BETA2, EPS = 0.999, 1e-8
_State = dict[str, Tensor]


class FusedAdamW:
    """Updates parameters in place; `param_groups` have their rates (`lr`), their `lr_factor` and
    their `weight_decay`.
    """

    def __init__(
        self, groups: list[tuple[list[nn.Parameter], float, float]], *, lr: float, beta1: float
    ) -> None:
        """`groups` are parameters with the factor of their learning rate and their weight decay."""
        self.beta1 = beta1
        self.param_groups: list[dict[str, Any]] = [
            {"params": params, "lr": lr, "lr_factor": factor, "weight_decay": decay}
            for params, factor, decay in groups
        ]
        self._state_of: dict[nn.Parameter, _State] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Take a step along the gradients; parameters without one stay as they are."""
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            for param in params:
                if param not in self._state_of:
                    self._state_of[param] = _new_state(param)
            states = [self._state_of[param] for param in params]
            adamw(
                params,
                [param.grad for param in params],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=BETA2,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                eps=EPS,
                maximize=False,
            )

    def state_dict(self) -> dict[str, Any]:
        """The moments and the steps of each parameter by its number, as `torch.optim.AdamW`."""
        states = enumerate(map(self._state_of.get, self._all_params()))
        return {"state": {i: dict(state) for i, state in states if state is not None}}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load what this class or `torch.optim.AdamW` has saved.

        Raises:
            ValueError: it is that of other parameters.
        """
        params = self._all_params()
        for number, state in saved["state"].items():
            if number >= len(params) or state["exp_avg"].shape != params[number].shape:
                raise ValueError(f"moment {number} is that of another parameter")
            param = params[number]
            moments = {name: state[name].to(param) for name in ("exp_avg", "exp_avg_sq")}
            step = state["step"].to(param.device)
            self._state_of[param] = {**moments, "step": step}

    def _all_params(self) -> list[nn.Parameter]:
        return [param for group in self.param_groups for param in group["params"]]


def _new_state(param: nn.Parameter) -> _State:
    return {
        "exp_avg": torch.zeros_like(param),
        "exp_avg_sq": torch.zeros_like(param),
        "step": torch.zeros((), device=param.device),
    }
