"""The numbers of a step, kept on the device until somebody looks: reading one makes the host wait
for everything before it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kdbatch.base.errors import UserError

SYNC_STEPS = {"cpu": 1, "cuda": 16}
"""How many steps at most are taken unseen. On a CPU every number is there anyway."""


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What a step reported, read: `loss`, `gradient_norm` and whatever else. Steps count from 1;
    `rate` is the learning rate.
    """

    step: int
    lr: float
    num_clips: int
    values: Mapping[str, float]


class MetricBuffer:
    """Rows that were written and not yet read."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, float, int, Mapping[str, Tensor]]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(
        self, step: int, values: Mapping[str, Tensor], *, lr: float, num_clips: int
    ) -> None:
        """Note the numbers of a step; each is a tensor of one element."""
        self._rows.append((step, lr, num_clips, values))

    def flush(self) -> list[StepMetrics]:
        """The rows since the last look, oldest first; waits for the device once.

        Raises:
            UserError: in one of them the loss or the norm of the gradient is not finite.
        """
        written, self._rows = self._rows, []
        if not written:
            return []
        numbers = iter(
            torch.stack(
                [v.detach().float() for _, _, _, values in written for v in values.values()]
            ).tolist()
        )
        rows = []
        for step, rate, num_clips, values in written:
            rows.append(
                StepMetrics(
                    step=step,
                    lr=rate,
                    num_clips=num_clips,
                    values={name: next(numbers) for name in values},
                )
            )
            _check_finite(rows[-1])
        return rows


def _check_finite(row: StepMetrics) -> None:
    for name, what in (("loss", "the loss"), ("gradient_norm", "the norm of the gradient")):
        if not math.isfinite(row.values[name]):
            raise UserError(
                f"step {row.step}: {what} is {row.values[name]} at lr {row.lr:.3g}. Nothing was saved from it. "
                "Lower lr in the profile, or raise warmup_epochs, and type the same kdbatch submit."
            )
