"""Metrics of training steps, kept on the device until they are needed.

Reading a number from the device makes the host wait for all work that was queued before it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError

SYNC_STEPS = {"cpu": 1, "cuda": 16}
"""The most steps between two syncs. On a CPU the numbers are on the host anyway."""


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """The metrics of one step, on the host: `loss`, `gradient_norm` and those of its stage.

    Steps count from 1; `lr` is the learning rate.
    """

    step: int
    lr: float
    num_clips: int
    values: Mapping[str, float]


class MetricBuffer:
    """The metrics of the steps since the last sync."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, int, Mapping[str, Tensor]]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, step: int, values: Mapping[str, Tensor], *, lr: float, num_clips: int) -> None:
        """Add the metrics of a step; each value is a tensor of one element."""
        self._rows.append((step, lr, num_clips, values))

    def flush(self) -> list[StepMetrics]:
        """Return and remove all rows, oldest first; waits for the device once.

        Raises:
            UserError: the loss or the norm of the gradient of a step is not finite.
        """
        pending, self._rows = self._rows, []
        if not pending:
            return []
        tensors = [value for *_, values in pending for value in values.values()]
        numbers = iter(torch.stack([tensor.detach().float() for tensor in tensors]).tolist())
        rows = []
        for step, lr, num_clips, values in pending:
            read = {name: next(numbers) for name in values}
            row = StepMetrics(step=step, lr=lr, num_clips=num_clips, values=read)
            _check_finite(row)
            rows.append(row)
        return rows


def _check_finite(row: StepMetrics) -> None:
    for name, title in (("loss", "the loss"), ("gradient_norm", "the norm of the gradient")):
        if not math.isfinite(row.values[name]):
            raise UserError(
                f"step {row.step}: {title} is {row.values[name]} at lr {row.lr:.3g}. "
                "Nothing was saved from it. "
                "Lower lr in the profile, or raise warmup_epochs, then: " + resume_command()
            )
