"""The lines about a training: which there are, how often, and what they say."""

import logging

import pytest

from kdbatch.run.train.metric_buffer import StepMetrics
from kdbatch.run.train.train_state import TrainState
from kdbatch.run.train.training_log import TrainingLog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def lines_of(
    caplog: pytest.LogCaptureFixture,
    *,
    seconds_per_step: float,
    per_epoch: int,
    epochs: int,
    first: int = 0,
) -> list[tuple[float, str]]:
    """(seconds since the start, line) of a training whose steps take equal time."""
    caplog.set_level(logging.INFO, logger="kdbatch.run")
    clock, state = Clock(), TrainState(step=first, clips=8 * first, seconds=first)
    log = TrainingLog(state, steps_per_epoch=per_epoch, num_steps=per_epoch * epochs, clock=clock)
    found = [(0.0, record.getMessage()) for record in caplog.records]
    for step in range(first + 1, per_epoch * epochs + 1):
        clock.now += seconds_per_step
        state.step, state.clips = step, state.clips + 8
        state.seconds, state.waited = state.seconds + 1, state.waited + 0.25
        values = {"loss": 2.0, "accuracy": 0.5, "stop": 0.0, "gradient_norm": 1.0}
        for name, value in values.items():
            state.sums[name] = state.sums.get(name, 0.0) + value
        if step % per_epoch == 0:
            for name, value in {**values, "lr": 0.1, "held_out_accuracy": 0.25}.items():
                state.add_point(name, value)
            state.sums = {}
        caplog.clear()
        log.update(state, [StepMetrics(step=step, lr=0.1, num_clips=8, values=values)])
        found += [(clock.now - 1000.0, record.getMessage()) for record in caplog.records]
    return found


def test_the_first_steps_and_each_epoch_of_a_short_training_have_a_line(caplog):
    lines = [line for _, line in lines_of(caplog, seconds_per_step=0.1, per_epoch=12, epochs=3)]
    assert [line.split(":")[0] for line in lines] == [
        *(f"step {n} of 36" for n in (1, 2, 5, 10)),
        *(f"epoch {n} of 3, step {12 * n} of 36" for n in (1, 2, 3)),
    ]
    assert lines[0] == "step 1 of 36: loss 2, train accuracy 50.0 %, lr 0.1"
    assert lines[4] == (
        "epoch 1 of 3, step 12 of 36: loss 2, train accuracy 50.0 %, held out 25.0 %, lr 0.1, "
        "8 clips/s, idle 25 %, 2 s left"
    )
    assert "left" not in lines[-1]


@pytest.mark.parametrize("seconds_per_epoch", [2, 29, 75, 600])
def test_a_long_training_has_about_a_line_a_minute_and_no_longer_silence(caplog, seconds_per_epoch):
    lines = lines_of(
        caplog,
        seconds_per_step=seconds_per_epoch / 20,
        per_epoch=20,
        epochs=max(5, 3600 // seconds_per_epoch),
    )
    times = [when for when, line in lines if line.startswith("epoch")]
    after = [when for when in times if when > 60]
    minutes = (times[-1] - 60) / 60
    assert minutes / 1.1 <= len(after) <= 2.1 * minutes + 1
    step = seconds_per_epoch / 20
    assert max(b - a for a, b in zip([0.0, *times], times, strict=False)) <= 60 + step
    if seconds_per_epoch < 60:
        assert all("held out" in line for _, line in lines if line.startswith("epoch"))


def test_a_training_that_goes_on_says_from_which_step(caplog):
    lines = lines_of(caplog, seconds_per_step=0.1, per_epoch=12, epochs=3, first=13)
    assert lines[0][1] == "goes on from the checkpoint of step 13 of 36"
    assert lines[1][1].startswith("step 14 of 36")
