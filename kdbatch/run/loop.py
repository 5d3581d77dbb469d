"""The one training loop. What a step does is passed in; everything between two steps is here."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

from kdbatch.result.write import Measure
from kdbatch.run.cache import FrameCache
from kdbatch.run.chance import seed_for
from kdbatch.run.checkpoint import load_checkpoint, save_checkpoint
from kdbatch.run.data import Batch, TrainingBatches, batches
from kdbatch.run.pulse import Pulse
from kdbatch.run.schedule import rate_at
from kdbatch.run.step import Step
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.recipes import Schedule
from kdbatch.vocab.runs import RunFolder

MIN_SAVE_SECONDS, SAVE_SHARE = 5.0, 0.02  # a checkpoint at most every 5 s, and at most 2 % of the time for saving


Facts = dict[str, Any]
"""What done.json says of a run besides its times and its machine."""


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What a stage needs to know of the place it runs in."""

    folder: RunFolder
    pulse: Pulse
    device: torch.device
    num_workers: int
    decoder: str
    cache: FrameCache | None = None


@dataclass(kw_only=True)
class _State:
    """Where training stands. `sums` are the reports of the running epoch, `curves` one row per finished epoch and name."""

    step: int = 0
    clips: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    curves: list[list[Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training leaves besides the weights."""

    curves: list[Measure]
    clips_per_second: float
    seconds: float


class AfterEpoch(Protocol):
    """Who is called when an epoch has ended. What it remembers travels in the checkpoint; it must not change the model."""

    def look(self, epoch: int) -> Mapping[str, float]:
        """Epochs count from 1. What it returns goes to the curves."""
        ...

    def memory(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def remember(self, memory: dict[str, Any]) -> None: ...


def train(
    model: nn.Module,
    take_step: Callable[[Batch], Step],
    *,
    source: TrainingBatches,
    schedule: Schedule,
    seed: int,
    worker: Worker,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train `model` to the end of `schedule`, from the checkpoint if there is one.

    Each step re-seeds torch from (seed, step), so that a resumed run is the run that was never stopped: bit for bit on a CPU.

    Raises:
        Stopped: asked to stop; the checkpoint is written.
        UserError: the loss is not finite, or the checkpoint is damaged.
    """
    optimizer = _optimizer(model, schedule)
    state = _resume(worker, model, optimizer, after_epoch)
    per_epoch = source.steps_per_epoch
    total = schedule.epochs * per_epoch
    saved_at, save_cost, began = time.monotonic(), 0.0, time.monotonic() - state.seconds
    model.train()
    for step, batch in zip(range(state.step, total), batches(source, range(state.step, total), num_workers=worker.num_workers)):
        torch.manual_seed(seed_for(seed, "step", step))
        rate = rate_at(schedule, step=step, steps_per_epoch=per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_factor"]
        with torch.autocast(worker.device.type, dtype=torch.bfloat16, enabled=worker.device.type == "cuda"):
            taken = take_step(batch)
        optimizer.zero_grad(set_to_none=True)
        taken.loss.backward()
        optimizer.step()
        _count(state, taken, len(batch.keys), rate, per_epoch)
        state.seconds = time.monotonic() - began
        if after_epoch and state.step % per_epoch == 0:  # before the checkpoint is written: what it holds has always been looked at
            numbers = after_epoch.look(state.step // per_epoch)
            state.curves += [[name, value, "1", state.step] for name, value in numbers.items()]
            model.train()
            began = time.monotonic() - state.seconds  # looking is not training
        worker.pulse.tell(step=state.step, num_steps=total, metric=_metric(state))
        due = time.monotonic() - saved_at > max(MIN_SAVE_SECONDS, save_cost / SAVE_SHARE)
        if due or worker.pulse.stop_asked or state.step == total:
            before = time.monotonic()
            _save(worker, model, optimizer, state, after_epoch)
            saved_at, save_cost = time.monotonic(), time.monotonic() - before
            worker.pulse.check()
    curves = [Measure(name=n, value=v, unit=u, step=s) for n, v, u, s in state.curves]
    return Trained(curves=curves, clips_per_second=state.clips / max(state.seconds, 1e-9), seconds=state.seconds)


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.SGD:
    """SGD; parameters outside of `model.backbone` are the head and have a rate of their own."""
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[not name.startswith("backbone.")].append(parameter)
    return torch.optim.SGD(
        [{"params": groups[False], "lr_factor": 1.0}, {"params": groups[True], "lr_factor": schedule.head_lr_factor}],
        lr=schedule.lr,
        momentum=schedule.momentum,
        weight_decay=schedule.weight_decay,
    )


def _count(state: _State, taken: Step, num_clips: int, rate: float, per_epoch: int) -> None:
    """Add a step's numbers up; an epoch's means go to the curves."""
    state.step += 1
    state.clips += num_clips
    values = {"loss": taken.loss, **taken.report}
    numbers = torch.stack([v.detach().float() for v in values.values()]).tolist()  # one wait for the device per step
    for name, number in zip(values, numbers, strict=True):
        state.sums[name] = state.sums.get(name, 0.0) + number
    if not math.isfinite(state.sums["loss"]):
        raise UserError(f"step {state.step}: the loss is {numbers[0]}. Nothing was saved from it; a lower lr in the profile would do.")
    if state.step % per_epoch == 0:
        state.curves += [[name, value / per_epoch, "1", state.step] for name, value in state.sums.items()]
        state.curves.append(["lr", rate, "1", state.step])
        state.sums = {}


def _metric(state: _State) -> str:
    """The last epoch's numbers in a few words."""
    last = [row for row in state.curves[-8:] if state.curves and row[3] == state.curves[-1][3]]
    shown = {row[0]: row[1] for row in last}
    return ", ".join(f"{name} {shown[name]:.3g}" for name in ("loss", "accuracy") if name in shown)


def _save(worker: Worker, model: nn.Module, optimizer: torch.optim.Optimizer, state: _State, after_epoch: AfterEpoch | None) -> None:
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": vars(state)}
    save_checkpoint(worker.folder.checkpoint, parts | ({"after_epoch": after_epoch.memory()} if after_epoch else {}))


def _resume(worker: Worker, model: nn.Module, optimizer: torch.optim.Optimizer, after_epoch: AfterEpoch | None) -> _State:
    saved = load_checkpoint(worker.folder.checkpoint)
    if saved is None:
        return _State()
    try:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if after_epoch:
            after_epoch.remember(saved["after_epoch"])
        return _State(**saved["state"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        path = worker.folder.checkpoint
        raise UserError(f"{path}: belongs to another version of this run. Delete it to start this run anew.") from error
