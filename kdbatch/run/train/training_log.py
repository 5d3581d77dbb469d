"""The log of a training: its start, its first steps, then its epochs, at most about one a minute.

It uses only numbers that the loop has read from the device for other reasons.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from kdbatch.base.text import duration
from kdbatch.run.run_log import LINE_SECONDS
from kdbatch.run.train.metric_buffer import StepMetrics
from kdbatch.run.train.train_state import TrainState

FIRST_STEPS = (1, 2, 5, 10)
_log = logging.getLogger(__name__)


class TrainingLog:
    """Logs the progress of one attempt, from `state` on.

    In the first minute every epoch has a line. Later an epoch has one if the end of the next would
    come more than a minute after the last line, and within a longer epoch there is one a minute.
    """

    def __init__(
        self,
        state: TrainState,
        *,
        steps_per_epoch: int,
        num_steps: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.steps_per_epoch, self.num_steps, self._clock = steps_per_epoch, num_steps, clock
        self._first_step = state.step
        self._began = self._line_at = self._epoch_at = clock()
        self._last = (state.clips, state.seconds, state.waited)
        if state.step:
            _log.info("goes on from the checkpoint of step %d of %d", state.step, num_steps)

    def update(self, state: TrainState, rows: Sequence[StepMetrics]) -> None:
        """Log what is due, given the state after a sync and the steps since the sync before."""
        for row in rows:
            if row.step - self._first_step in FIRST_STEPS and row.step % self.steps_per_epoch:
                values = [*_training_numbers(row.values), f"lr {row.lr:.3g}"]
                _log.info("step %d of %d: %s", row.step, self.num_steps, ", ".join(values))
        now = self._clock()
        if state.step % self.steps_per_epoch == 0:
            epoch_seconds, self._epoch_at = now - self._epoch_at, now
            is_due = (
                now - self._began < LINE_SECONDS
                or now - self._line_at + epoch_seconds > LINE_SECONDS
                or state.step == self.num_steps
            )
            values = state.latest_points()
        else:
            is_due = now - self._line_at >= LINE_SECONDS
            num_steps = state.step % self.steps_per_epoch
            values = {name: total / num_steps for name, total in state.sums.items()}
            values["lr"] = rows[-1].lr
        if is_due:
            self._log_line(state, values, now)

    def _log_line(self, state: TrainState, values: Mapping[str, float], now: float) -> None:
        clips, seconds, waited = (
            current - last
            for current, last in zip(
                (state.clips, state.seconds, state.waited), self._last, strict=True
            )
        )
        parts = [*_training_numbers(values)]
        if "held_out_accuracy" in values:
            parts.append(f"held out {100 * values['held_out_accuracy']:.1f} %")
        parts.append(f"lr {values['lr']:.3g}")
        if seconds > 0:
            parts.append(f"{clips / seconds:,.0f} clips/s")
            parts.append(f"idle {100 * waited / seconds:.0f} %")
        steps_left = self.num_steps - state.step
        if steps_left:
            pace = (now - self._began) / (state.step - self._first_step)
            parts.append(f"{duration(pace * steps_left)} left")
        epoch, epochs = (
            -(-state.step // self.steps_per_epoch),
            self.num_steps // self.steps_per_epoch,
        )
        where = f"epoch {epoch} of {epochs}, step {state.step} of {self.num_steps}"
        _log.info("%s: %s", where, ", ".join(parts))
        self._line_at, self._last = now, (state.clips, state.seconds, state.waited)


def _training_numbers(values: Mapping[str, float]) -> list[str]:
    numbers = [f"loss {values['loss']:.4g}"]
    if "accuracy" in values:
        numbers.append(f"train accuracy {100 * values['accuracy']:.1f} %")
    return numbers
