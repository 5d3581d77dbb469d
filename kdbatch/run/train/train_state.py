"""The state of a training run: its counters and curves, its checkpoints, and its clock."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from kdbatch.base.command_lines import remove_and_resume
from kdbatch.base.errors import UserError
from kdbatch.result.schema import CURVES
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import load_checkpoint, save_checkpoint
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.meters.idle_meter import IdleMeter
from kdbatch.run.meters.nvml import GpuUtilisation
from kdbatch.run.train.optimizers import Optimizer
from kdbatch.vocab.metrics import Unit
from kdbatch.vocab.runs.folder import RunFolder

# A checkpoint is written at most every 5 s, and saving takes at most 2 % of the time.
MIN_SAVE_SECONDS = 5.0
SAVE_SHARE = 0.02


@dataclass(kw_only=True)
class TrainState:
    """Counters, sums and curves of a training run, over all of its attempts.

    `sums` are the metrics of the running epoch summed over its steps; `curves` has one point per
    metric and finished epoch. `seconds` counts training alone, and `waited` the part of it in which
    the device had nothing of a step to do; `before` holds both as they were when the running epoch
    began. `utilisation` is the sum of NVML's utilisations of the GPU, in percent, and their number.
    """

    step: int = 0
    clips: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    before: list[float] = field(default_factory=lambda: [0.0, 0.0])
    utilisation: list[float] = field(default_factory=lambda: [0.0, 0.0])
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[Measure] = field(default_factory=list)

    def add_point(self, name: str, value: float, *, unit: Unit = "1") -> None:
        """Append a point of the curve `name` at the current step."""
        self.curves.append(Measure(name=name, value=value, unit=unit, step=self.step))

    def latest_points(self) -> dict[str, float]:
        """The values of the curves at their last step, by name."""
        values: dict[str, float] = {}
        for point in reversed(self.curves):
            if point.step != self.curves[-1].step:
                break
            values.setdefault(point.name, point.value)
        return values

    def to_plain(self) -> dict[str, Any]:
        """The fields as plain values; a point of a curve is `[name, value, unit, step]`."""
        points = [[point.name, point.value, point.unit, point.step] for point in self.curves]
        return vars(self) | {"curves": points}

    @classmethod
    def from_plain(cls, fields: dict[str, Any]) -> "TrainState":
        """The inverse of `to_plain`.

        Raises:
            KeyError, TypeError, ValueError: the fields are those of another version.
        """
        state = cls(**fields)
        state.curves = [
            Measure(name=name, value=value, unit=unit, step=step)
            for name, value, unit, step in fields["curves"]
        ]
        return state


class EpochCallback(Protocol):
    """An object that is called after each epoch; its state is stored in the checkpoint.

    It must not change the model.
    """

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        """Return points for the curves; epochs count from 1."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass(kw_only=True)
class CheckpointedTraining:
    """The parts of a run that a checkpoint holds, and the time when the last one was written.

    Each checkpoint is followed by its curves in `folder`, which others read while the run is under
    way: so they have no point that training has not kept.
    """

    model: nn.Module
    optimizer: Optimizer
    folder: RunFolder
    group: ProcessGroup
    after_epoch: EpochCallback | None
    state: TrainState = field(default_factory=TrainState)
    saved_at: float = 0.0
    save_seconds: float = 0.0
    num_published: int = 0

    def __post_init__(self) -> None:
        self.resume()
        self.saved_at = time.monotonic()

    def on_epoch_end(self, epoch: int) -> None:
        """Call `after_epoch` and append what it returns to the curves.

        Call this before `save`, so that the callback has seen the weights of every checkpoint.
        """
        if self.after_epoch:
            for name, value in self.after_epoch.on_epoch_end(epoch).items():
                self.state.add_point(name, value)
            self.model.train()

    def save_is_due(self) -> bool:
        pause = max(MIN_SAVE_SECONDS, self.save_seconds / SAVE_SHARE)
        return time.monotonic() - self.saved_at > pause

    def save(self) -> None:
        """Write the checkpoint, on rank 0.

        The metrics of all steps up to here have been flushed, so none of them is infinite or nan.
        """
        if not self.group.is_rank0:
            return
        began = time.monotonic()
        parts = {
            "run_id": self.folder.id,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": self.state.to_plain(),
        }
        if self.after_epoch:
            parts["after_epoch"] = self.after_epoch.state_dict()
        save_checkpoint(self.folder.checkpoint, parts)
        self._publish_curves()
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - began

    def _check_owner(self, run_id: str) -> None:
        """Refuse the checkpoint of another run, whose network may be the same."""
        if run_id != self.folder.id:
            raise UserError(
                f"{self.folder.checkpoint}: is a checkpoint of the run {run_id}. Start this run "
                f"from the beginning: {remove_and_resume(self.folder.checkpoint)}"
            )

    def _publish_curves(self) -> None:
        """Write the curves where they have grown; without space on the disk, at the end."""
        if len(self.state.curves) > self.num_published:
            with contextlib.suppress(OSError):
                write_measures(self.folder.curves, self.folder.id, self.state.curves, schema=CURVES)
                self.num_published = len(self.state.curves)

    def resume(self) -> None:
        """Load the checkpoint, if there is one, on all ranks; then broadcast rank 0's model.

        Raises:
            UserError: the checkpoint is damaged, is another run's, or does not fit this model and
                callback.
        """
        saved = load_checkpoint(self.folder.checkpoint, group=self.group)
        if saved is not None:
            self._check_owner(saved.get("run_id", self.folder.id))
            try:
                self.model.load_state_dict(saved["model"])
                self.optimizer.load_state_dict(saved["optimizer"])
                if self.after_epoch:
                    self.after_epoch.load_state_dict(saved["after_epoch"])
                self.state = TrainState.from_plain(saved["state"])
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise UserError(
                    f"{self.folder.checkpoint}: belongs to another version of this run. "
                    "Start this run from the beginning: "
                    + remove_and_resume(self.folder.checkpoint)
                ) from error
        self.group.broadcast_tensors([*self.model.parameters(), *self.model.buffers()])


class TrainingClock:
    """Counts the seconds of training in all attempts, without evaluation and saving, and what the
    device did in them.
    """

    def __init__(self, state: TrainState, meter: IdleMeter, utilisation: GpuUtilisation) -> None:
        self._meter, self._utilisation = meter, utilisation
        self.restart(state)

    def record(self, state: TrainState, *, ends_epoch: bool) -> None:
        """Store the seconds so far in `state`; at the end of an epoch also its idle share.

        The numbers of all steps so far have been read, so the device has done them.
        """
        state.seconds = time.monotonic() - self._began
        state.waited += self._meter.read()[1]
        percent = self._utilisation.sample()
        if percent is not None:
            total, number = state.utilisation
            state.utilisation = [total + percent, number + 1]
        if ends_epoch:
            seconds, waited = state.seconds - state.before[0], state.waited - state.before[1]
            share = 100 * waited / max(seconds, 1e-9)
            state.add_point("idle_share", min(share, 100.0), unit="percent")
            state.before = [state.seconds, state.waited]

    def restart(self, state: TrainState) -> None:
        """Leave out the time since the last `record`."""
        self._began = time.monotonic() - state.seconds
        self._meter.start()
