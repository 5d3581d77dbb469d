"""The one training loop. What a step does is passed in; everything between two steps is here."""

import resource
from dataclasses import dataclass

import torch
from torch import nn

from kdbatch.result.write import Measure
from kdbatch.run.context import Worker
from kdbatch.run.data.batches import TrainingBatches, batches
from kdbatch.run.data.prefetch import Feed
from kdbatch.run.distributed.sync_layers import work_together
from kdbatch.run.heartbeat import Pulse, Stopped
from kdbatch.run.rng import seed_for
from kdbatch.run.train.lr_schedule import rate_at
from kdbatch.run.train.metric_buffer import LOOK_STEPS, Ledger
from kdbatch.run.train.optim import TakeStep, compile_layers, find_gradients, make_optimizer, set_rate
from kdbatch.run.train.train_state import AfterEpoch, Clock, Progress, State
from kdbatch.vocab.recipes import Schedule


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training leaves besides the weights."""

    curves: list[Measure]
    clips_per_second: float
    seconds: float
    data_wait_percent: float
    max_memory_gb: float


def train(
    model: nn.Module,
    take_step: TakeStep,
    *,
    source: TrainingBatches,
    schedule: Schedule,
    seed: int,
    worker: Worker,
    after_epoch: AfterEpoch | None = None,
) -> Trained:
    """Train `model` to the end of `schedule`, from the checkpoint if there is one.

    A batch is a pure function of (seed, step), and each step re-seeds torch from them: a checkpoint needs neither the state of a
    generator nor a place in the data, and a run that is resumed after any step is the run that was never stopped, bit for bit on a
    CPU. Processes of a team all draw the same numbers.

    Raises:
        Stopped: this process or another of its team was asked to stop; the checkpoint is written.
        UserError: the loss or the gradient is not finite, or the checkpoint is damaged.
    """
    work_together(model, worker.team)
    if worker.compiles:
        compile_layers(model)
    optimizer = make_optimizer(model, schedule)
    run = Progress(model=model, optimizer=optimizer, checkpoint=worker.folder.checkpoint, team=worker.team, after_epoch=after_epoch)
    state, ledger, per_epoch = run.state, Ledger(), source.steps_per_epoch
    total = schedule.epochs * per_epoch
    steps = range(state.step, total)
    feed = Feed(batches(source, steps, num_workers=worker.num_workers), size_pixels=source.view.size_pixels, device=worker.device)
    model.train()
    clock = Clock(state, feed)
    coming = next(feed, None)
    for step in steps:
        assert coming is not None, step
        torch.manual_seed(seed_for(seed, "step", step))
        rate = rate_at(schedule, step=step, steps_per_epoch=per_epoch)
        set_rate(optimizer, rate)
        numbers = find_gradients(
            model, take_step, coming, num_parts=schedule.num_micro_batches, team=worker.team, stop_asked=lambda: worker.pulse.stop_asked
        )
        optimizer.step()
        ledger.write(step + 1, numbers, rate=rate, num_clips=len(coming[1].keys) * worker.team.world_size)
        coming = next(feed, None)  # before the look: a GPU has the next batch made while it works on this one
        if (step + 1) % per_epoch and len(ledger) < LOOK_STEPS[worker.device.type]:
            continue
        if _look(run, ledger, clock, per_epoch=per_epoch, total=total, pulse=worker.pulse):
            raise Stopped
    return _trained(state, worker.device)


def _look(run: Progress, ledger: Ledger, clock: Clock, *, per_epoch: int, total: int, pulse: Pulse) -> bool:
    """Take note of the steps since the last look, and save when it is time. Whether anyone was asked to stop; then it is saved."""
    state = run.state
    stop = _count(state, ledger, per_epoch)
    clock.stamp(state, ends_epoch=state.step % per_epoch == 0)
    if state.step % per_epoch == 0:
        run.look(state.step // per_epoch)
    pulse.tell(step=state.step, num_steps=total, metric=_metric(state))
    if stop or state.step == total or run.save_is_due():
        run.save()
    clock.go_on(state)
    return stop


def _count(state: State, ledger: Ledger, per_epoch: int) -> bool:
    """Add up the numbers of the steps since the last look; an epoch's means go to the curves. Whether anyone was asked to stop."""
    stop = False
    for row in ledger.read():
        state.step, state.clips = row.step, state.clips + row.num_clips
        stop = stop or row.values["stop"] > 0
        for name, number in row.values.items():
            state.sums[name] = state.sums.get(name, 0.0) + number
        if row.step % per_epoch == 0:
            state.curves += [[name, value / per_epoch, "1", row.step] for name, value in state.sums.items() if name != "stop"]
            state.curves.append(["lr", row.rate, "1", row.step])
            state.sums = {}
    return stop


def _metric(state: State) -> str:
    """The last epoch's numbers in a few words."""
    last = [row for row in state.curves[-24:] if row[3] == state.curves[-1][3]]
    shown = {row[0]: row[1] for row in last}
    return ", ".join(f"{name} {shown[name]:.3g}" for name in ("loss", "accuracy") if name in shown)


def _trained(state: State, device: torch.device) -> Trained:
    seconds = max(state.seconds, 1e-9)
    return Trained(
        curves=[Measure(name=n, value=v, unit=u, step=s) for n, v, u, s in state.curves],
        clips_per_second=state.clips / seconds,
        seconds=state.seconds,
        data_wait_percent=100 * state.waited / seconds,
        max_memory_gb=max_memory_gb(device),
    )


def max_memory_gb(device: torch.device) -> float:
    """The most memory that was in use so far, in 1e9 bytes: that of the GPU which PyTorch gave out, or all of this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
