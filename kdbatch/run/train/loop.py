"""The one training loop. What a step does is passed in; everything between two steps is here."""

import resource
from dataclasses import dataclass

import torch
from torch import nn

from kdbatch.result.write import Measure
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import TrainingBatches, iterate_batches
from kdbatch.run.data.prefetch import DevicePrefetcher
from kdbatch.run.distributed.sync_layers import synchronize_layers
from kdbatch.run.heartbeat import StatusReporter, Stopped
from kdbatch.run.rng import seed_for
from kdbatch.run.train.lr_schedule import lr_at
from kdbatch.run.train.metric_buffer import SYNC_STEPS, MetricBuffer
from kdbatch.run.train.optim import (
    StepFunction,
    compile_layers,
    compute_gradients,
    make_optimizer,
    set_lr,
)
from kdbatch.run.train.train_state import (
    CheckpointedTraining,
    EpochCallback,
    TrainingClock,
    TrainState,
)
from kdbatch.vocab.recipes import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What training leaves besides the weights."""

    curves: list[Measure]
    clips_per_second: float
    seconds: float
    data_wait_percent: float
    max_memory_gb: float


def train(
    model: nn.Module,
    take_step: StepFunction,
    *,
    source: TrainingBatches,
    schedule: Schedule,
    seed: int,
    context: RunContext,
    after_epoch: EpochCallback | None = None,
) -> TrainingResult:
    """Train `model` to the end of `schedule`, from the checkpoint if there is one.

    A batch is a pure function of (seed, step), and each step re-seeds torch from them: a checkpoint
    needs neither the state of a generator nor a place in the data, and a run that is resumed after
    any step is the run that was never stopped, bit for bit on a CPU. Processes of a team all draw
    the same numbers.

    Raises:
        Stopped: this process or another of its team was asked to stop; the checkpoint is written.
        UserError: the loss or the gradient is not finite, or the checkpoint is damaged.
    """
    synchronize_layers(model, context.group)
    if context.compile_layers:
        compile_layers(model)
    optimizer = make_optimizer(model, schedule)
    run = CheckpointedTraining(
        model=model,
        optimizer=optimizer,
        checkpoint=context.folder.checkpoint,
        group=context.group,
        after_epoch=after_epoch,
    )
    state, ledger, per_epoch = run.state, MetricBuffer(), source.steps_per_epoch
    total = schedule.epochs * per_epoch
    steps = range(state.step, total)
    feed = DevicePrefetcher(
        iterate_batches(source, steps, num_workers=context.num_workers),
        size_pixels=source.view.size_pixels,
        device=context.device,
    )
    model.train()
    clock = TrainingClock(state, feed)
    coming = next(feed, None)
    for step in steps:
        assert coming is not None, step
        torch.manual_seed(seed_for(seed, "step", step))
        rate = lr_at(schedule, step=step, steps_per_epoch=per_epoch)
        set_lr(optimizer, rate)
        numbers = compute_gradients(
            model,
            take_step,
            coming,
            num_micro_batches=schedule.num_micro_batches,
            group=context.group,
            stop_requested=lambda: context.reporter.stop_requested,
        )
        optimizer.step()
        ledger.append(
            step + 1, numbers, lr=rate, num_clips=len(coming[1].keys) * context.group.world_size
        )
        coming = next(
            feed, None
        )  # before the look: a GPU has the next batch made while it works on this one
        if (step + 1) % per_epoch and len(ledger) < SYNC_STEPS[context.device.type]:
            continue
        if _sync(run, ledger, clock, per_epoch=per_epoch, total=total, reporter=context.reporter):
            raise Stopped
    return _trained(state, context.device)


def _sync(
    run: CheckpointedTraining,
    metrics: MetricBuffer,
    clock: TrainingClock,
    *,
    per_epoch: int,
    total: int,
    reporter: StatusReporter,
) -> bool:
    """Take note of the steps since the last look, and save when it is time. Whether anyone was
    asked to stop; then it is saved.
    """
    state = run.state
    stop = _count(state, metrics, per_epoch)
    clock.record(state, ends_epoch=state.step % per_epoch == 0)
    if state.step % per_epoch == 0:
        run.on_epoch_end(state.step // per_epoch)
    reporter.update(step=state.step, num_steps=total, metric=_metric(state))
    if stop or state.step == total or run.save_is_due():
        run.save()
    clock.restart(state)
    return stop


def _count(state: TrainState, metrics: MetricBuffer, per_epoch: int) -> bool:
    """Add up the numbers of the steps since the last look; an epoch's means go to the curves.
    Whether anyone was asked to stop.
    """
    stop = False
    for row in metrics.flush():
        state.step, state.clips = row.step, state.clips + row.num_clips
        stop = stop or row.values["stop"] > 0
        for name, number in row.values.items():
            state.sums[name] = state.sums.get(name, 0.0) + number
        if row.step % per_epoch == 0:
            state.curves += [
                [name, value / per_epoch, "1", row.step]
                for name, value in state.sums.items()
                if name != "stop"
            ]
            state.curves.append(["lr", row.lr, "1", row.step])
            state.sums = {}
    return stop


def _metric(state: TrainState) -> str:
    """The last epoch's numbers in a few words."""
    last = [row for row in state.curves[-24:] if row[3] == state.curves[-1][3]]
    shown = {row[0]: row[1] for row in last}
    return ", ".join(f"{name} {shown[name]:.3g}" for name in ("loss", "accuracy") if name in shown)


def _trained(state: TrainState, device: torch.device) -> TrainingResult:
    seconds = max(state.seconds, 1e-9)
    return TrainingResult(
        curves=[Measure(name=n, value=v, unit=u, step=s) for n, v, u, s in state.curves],
        clips_per_second=state.clips / seconds,
        seconds=state.seconds,
        data_wait_percent=100 * state.waited / seconds,
        max_memory_gb=max_memory_gb(device),
    )


def max_memory_gb(device: torch.device) -> float:
    """The most memory that was in use so far, in 1e9 bytes: that of the GPU which PyTorch gave out,
    or all of this process's.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
