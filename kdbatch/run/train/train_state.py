"""Where training stands: what a checkpoint holds, when it is written, and what the clock says."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from kdbatch.base.errors import UserError
from kdbatch.run.checkpoint import load_checkpoint, save_checkpoint
from kdbatch.run.data.prefetch import DevicePrefetcher
from kdbatch.run.distributed.process_group import ProcessGroup

MIN_SAVE_SECONDS, SAVE_SHARE = (
    5.0,
    0.02,
)  # a checkpoint at most every 5 s, and at most 2 % of the time for saving


@dataclass(kw_only=True)
class TrainState:
    """Where training stands. `sums` are the reports of the running epoch, `curves` one row per
    finished epoch and name.

    `seconds` are those of training alone, `waited` those of them that the device had no batch;
    `before` is both when the epoch began.
    """

    step: int = 0
    clips: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    before: list[float] = field(default_factory=lambda: [0.0, 0.0])
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[list[Any]] = field(default_factory=list)


class EpochCallback(Protocol):
    """Who is called when an epoch has ended. What it remembers travels in the checkpoint; it must
    not change the model.
    """

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Epochs count from 1. What it returns goes to the curves."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, memory: dict[str, Any]) -> None: ...


@dataclass(kw_only=True)
class CheckpointedTraining:
    """The parts of a run that a checkpoint holds, and when the last one was written."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    checkpoint: Path
    group: ProcessGroup
    after_epoch: EpochCallback | None
    state: TrainState = field(default_factory=TrainState)
    saved_at: float = 0.0
    save_cost: float = 0.0

    def __post_init__(self) -> None:
        self.resume()
        self.saved_at = time.monotonic()

    def on_epoch_end(self, epoch: int) -> None:
        """Let `after_epoch` look. Before the checkpoint is written: the weights that it holds have
        always been looked at.
        """
        if self.after_epoch:
            numbers = self.after_epoch.on_epoch_end(epoch)
            self.state.curves += [
                [name, value, "1", self.state.step] for name, value in numbers.items()
            ]
            self.model.train()

    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at > max(MIN_SAVE_SECONDS, self.save_cost / SAVE_SHARE)

    def save(self) -> None:
        """Write the checkpoint, if this process leads. Every number up to here has been looked at:
        none is infinite.
        """
        if not self.group.is_rank0:
            return
        began = time.monotonic()
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": vars(self.state),
        }
        parts |= {"after_epoch": self.after_epoch.state_dict()} if self.after_epoch else {}
        save_checkpoint(self.checkpoint, parts)
        self.saved_at, self.save_cost = time.monotonic(), time.monotonic() - began

    def resume(self) -> None:
        """Go back to the checkpoint, if there is one: everyone to the leader's."""
        saved = load_checkpoint(self.checkpoint, group=self.group)
        if saved is not None:
            try:
                self.model.load_state_dict(saved["model"])
                self.optimizer.load_state_dict(saved["optimizer"])
                if self.after_epoch:
                    self.after_epoch.load_state_dict(saved["after_epoch"])
                self.state = TrainState(**saved["state"])
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise UserError(
                    f"{self.checkpoint}: belongs to another version of this run. Delete it to start this run anew."
                ) from error
        self.group.broadcast_tensors([*self.model.parameters(), *self.model.buffers()])


class TrainingClock:
    """Counts the seconds of training, without those of looking and saving, in all attempts."""

    def __init__(self, state: TrainState, prefetcher: DevicePrefetcher) -> None:
        self._feed, self._waited = prefetcher, state.waited
        self.restart(state)

    def record(self, state: TrainState, *, ends_epoch: bool) -> None:
        state.seconds, state.waited = (
            time.monotonic() - self._began,
            self._waited + self._feed.data_wait_seconds,
        )
        if ends_epoch:
            seconds, waited = state.seconds - state.before[0], state.waited - state.before[1]
            state.curves.append(
                ["data_wait_share", 100 * waited / max(seconds, 1e-9), "percent", state.step]
            )
            state.before = [state.seconds, state.waited]

    def restart(self, state: TrainState) -> None:
        self._began = time.monotonic() - state.seconds
