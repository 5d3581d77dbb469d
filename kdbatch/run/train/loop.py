"""The training loop of all stages: the step is passed in, everything between steps is here."""

import resource
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdbatch.result.write import Measure
from kdbatch.run.compilation.training import compile_training
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import TrainingBatches, iterate_batches
from kdbatch.run.data.prefetch import DeviceBatch, DevicePrefetcher, staging
from kdbatch.run.distributed.sync_layers import synchronize_layers
from kdbatch.run.heartbeat import StatusReporter, Stopped
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock
from kdbatch.run.meters.nvml import GpuUtilisation
from kdbatch.run.rng import seed_for
from kdbatch.run.train.lr_schedule import lr_at
from kdbatch.run.train.metric_buffer import SYNC_STEPS, MetricBuffer, StepMetrics
from kdbatch.run.train.optim import StepFunction, compute_gradients, make_optimizer, set_lr
from kdbatch.run.train.train_state import (
    CheckpointedTraining,
    EpochCallback,
    TrainingClock,
    TrainState,
)
from kdbatch.run.train.training_log import TrainingLog
from kdbatch.vocab.recipes.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """Curves and measurements of a finished training, without its weights.

    `idle_percent` is the share of the time in which the device had nothing of a step to do.
    """

    curves: list[Measure]
    clips_per_second: float
    seconds: float
    idle_percent: float
    max_memory_gb: float
    gpu_utilisation_percent: float | None = None


def train(
    model: nn.Module,
    take_step: StepFunction,
    *,
    source: TrainingBatches,
    schedule: Schedule,
    seed: int,
    context: RunContext,
    teachers: Sequence[nn.Module] = (),
    after_epoch: EpochCallback | None = None,
) -> TrainingResult:
    """Train `model` to the end of `schedule`, from the checkpoint if there is one.

    `teachers` are networks that every step infers with.

    A batch is a pure function of (seed, step), and each step seeds torch from them. A checkpoint
    therefore needs neither the state of a generator nor a position in the data, and a run that is
    resumed after any step equals an uninterrupted run, bit for bit on a CPU. All ranks draw the
    same numbers.

    Raises:
        Stopped: a rank was asked to stop; the checkpoint is written.
        UserError: the loss or the gradient is not finite, or the checkpoint is damaged.
    """
    synchronize_layers(model, context.group)
    stepper = _Stepper(
        model, take_step, source=source, schedule=schedule, seed=seed, context=context
    )
    run = CheckpointedTraining(
        model=model,
        optimizer=stepper.optimizer,
        folder=context.folder,
        group=context.group,
        after_epoch=after_epoch,
    )
    per_epoch, num_steps = source.steps_per_epoch, schedule.epochs * source.steps_per_epoch
    steps = range(run.state.step, num_steps)
    context.reporter.note_loaded(run.state.step)
    prefetcher = stepper.prefetcher(steps)
    model.train()
    clock = TrainingClock(run.state, stepper.meter, GpuUtilisation(context.device))
    next_batch = next(prefetcher, None)
    if next_batch:
        clock.record(run.state, ends_epoch=False)
        stepper.compile(next_batch, teachers, steps_left=len(steps))
        clock.restart(run.state)  # leaves out what compiling takes
    log = TrainingLog(run.state, steps_per_epoch=per_epoch, num_steps=num_steps)
    metrics = MetricBuffer()
    for step in steps:
        assert next_batch is not None, step
        stepper.take(step, next_batch, metrics)
        # Before the sync: a GPU prepares the next batch while it computes this step.
        next_batch = next(prefetcher, None)
        if (step + 1) % per_epoch and len(metrics) < SYNC_STEPS[context.device.type]:
            continue
        if _sync(run, metrics, clock, log, context.reporter):
            raise Stopped
    return _training_result(run.state, context.device)


class _Stepper:
    """Takes the steps of one training; `meter` measures what the device waits in them."""

    def __init__(
        self,
        model: nn.Module,
        take_step: StepFunction,
        *,
        source: TrainingBatches,
        schedule: Schedule,
        seed: int,
        context: RunContext,
    ) -> None:
        self._model, self._take_step = model, take_step
        self._source, self._schedule, self._seed, self._context = source, schedule, seed, context
        self.optimizer = make_optimizer(model, schedule)
        self.meter = IdleMeter(device_clock(context.device))

    def prefetcher(self, steps: range) -> DevicePrefetcher:
        """The batches of these steps, on the device."""
        context = self._context
        batches = iterate_batches(
            self._source, steps, num_workers=context.num_workers, stage=staging(context.device)
        )
        pixels = self._source.view.size_pixels
        return DevicePrefetcher(batches, size_pixels=pixels, device=context.device)

    def compile(
        self, first: DeviceBatch, teachers: Sequence[nn.Module], *, steps_left: int
    ) -> None:
        """Compile the networks where that makes the remaining steps shorter."""
        compile_training(
            self._model,
            teachers,
            first,
            self._compute,
            least_videos=self._source.clips_per_batch,
            steps_left=steps_left,
            context=self._context,
        )

    def take(self, step: int, device_batch: DeviceBatch, metrics: MetricBuffer) -> None:
        """Take one step, and add what it measures to `metrics`."""
        torch.manual_seed(seed_for(self._seed, "step", step))
        lr = lr_at(self._schedule, step=step, steps_per_epoch=self._source.steps_per_epoch)
        set_lr(self.optimizer, lr)
        with self.meter.step():
            values = self._compute(device_batch)
            self.optimizer.step()
        num_clips = len(device_batch[1].keys) * self._context.group.world_size
        metrics.append(step + 1, values, lr=lr, num_clips=num_clips)

    def _compute(self, device_batch: DeviceBatch) -> dict[str, Tensor]:
        return compute_gradients(
            self._model,
            self._take_step,
            device_batch,
            num_micro_batches=self._schedule.num_micro_batches,
            group=self._context.group,
            stop_requested=lambda: self._context.reporter.stop_requested,
        )


def _sync(
    run: CheckpointedTraining,
    metrics: MetricBuffer,
    clock: TrainingClock,
    log: TrainingLog,
    reporter: StatusReporter,
) -> bool:
    """Process the metrics since the last sync; save a checkpoint when one is due.

    Returns whether any rank was asked to stop; a checkpoint is then written.
    """
    state = run.state
    rows = metrics.flush()
    stop = _update_state(state, rows, log.steps_per_epoch)
    ends_epoch = state.step % log.steps_per_epoch == 0
    clock.record(state, ends_epoch=ends_epoch)
    if ends_epoch:
        run.on_epoch_end(state.step // log.steps_per_epoch)
    log.update(state, rows)
    reporter.update(step=state.step, num_steps=log.num_steps, metric=_metric_text(state))
    if stop or state.step == log.num_steps or run.save_is_due():
        run.save()
        reporter.note_saved()
    clock.restart(state)
    return stop


def _update_state(state: TrainState, rows: Sequence[StepMetrics], per_epoch: int) -> bool:
    """Add the metrics of steps to the sums; append an epoch's means to the curves.

    Returns whether any rank was asked to stop.
    """
    stop = False
    for row in rows:
        state.step, state.clips = row.step, state.clips + row.num_clips
        stop = stop or row.values["stop"] > 0
        for name, value in row.values.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        if row.step % per_epoch == 0:
            for name, total in state.sums.items():
                if name != "stop":
                    state.add_point(name, total / per_epoch)
            state.add_point("lr", row.lr)
            state.sums = {}
    return stop


def _metric_text(state: TrainState) -> str:
    """Loss and accuracy of the last epoch in training, for status.json."""
    last = state.latest_points()
    parts = [f"{100 * last['accuracy']:.1f} %"] if "accuracy" in last else []
    parts += [f"loss {last['loss']:.3g}"] if "loss" in last else []
    return f"train {', '.join(parts)}" if parts else ""


def _training_result(state: TrainState, device: torch.device) -> TrainingResult:
    seconds = max(state.seconds, 1e-9)
    total, number = state.utilisation
    return TrainingResult(
        curves=state.curves,
        clips_per_second=state.clips / seconds,
        seconds=state.seconds,
        idle_percent=min(100 * state.waited / seconds, 100.0),
        max_memory_gb=max_memory_gb(device),
        gpu_utilisation_percent=total / number if number else None,
    )


def max_memory_gb(device: torch.device) -> float:
    """The peak memory use so far, in 1e9 bytes.

    On a GPU that is the memory which PyTorch allocated, on a CPU the whole process's.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
