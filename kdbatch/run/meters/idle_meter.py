"""Measures how long a device has nothing to do, by events on a GPU and by the clock on a CPU."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

MAX_HOLD_SECONDS = 0.25
_FIRST_WORK_STEPS, _WORK_STEPS = (4, 16, 64, 256), 1024


class Clock(Protocol):
    """Marks moments in the work of a device; a moment is opaque to the caller."""

    def mark(self) -> Any:
        """The moment at which the device has done everything that was queued so far."""
        ...

    def seconds(self, earlier: Any, later: Any) -> float:
        """The seconds between two moments, both of them past."""
        ...

    def is_past(self, moment: Any) -> bool: ...

    def hold(self, seconds: float) -> None:
        """Keep the device from what is queued after this call for about `seconds`."""
        ...


class HostClock:
    """The clock of a CPU, which carries out a call before the call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, earlier: float, later: float) -> float:
        return later - earlier

    def is_past(self, moment: float) -> bool:
        """Never asks for `hold`: there are no calls that a CPU could wait for."""
        return False

    def hold(self, seconds: float) -> None:
        """Nothing is queued on a CPU."""


class StreamClock:
    """Events on the main stream of a GPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        later.synchronize()
        return earlier.elapsed_time(later) / 1000

    def is_past(self, moment: torch.cuda.Event) -> bool:
        return moment.query()

    def hold(self, seconds: float) -> None:
        # Cycles of the GPU; 2 GHz is about the fastest clock there is.
        torch.cuda._sleep(int(2e9 * seconds))


def device_clock(device: torch.device) -> Clock:
    """The clock of `device`."""
    return StreamClock(device) if device.type == "cuda" else HostClock()


@dataclass(frozen=True, kw_only=True)
class _Step:
    held: Any  # when the device was told to hold, or None
    began: Any
    ended: Any
    is_exposed: bool  # the device had begun this step before all of it was launched


class IdleMeter:
    """Adds up, from `start` to `read`, the time and the part of it in which the device had nothing
    of a step to do: it waited for a batch, for the host between two steps, or for a launch.

    Two events enclose each step. They do not show that a device waits for launches within a step.
    Therefore, if the device begins steps before the host has launched all of them, it is held in
    one of `_WORK_STEPS` steps until the host has launched that step, or most of it. The time that
    this step then takes is its work at most, and any time beyond it in other such steps is idle.
    The hold itself is left out.
    """

    def __init__(self, clock: Clock, *, host_time: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._host_time = clock, host_time
        self._steps: list[_Step] = []
        self._num_steps, self._launch_seconds, self._work_seconds = 0, 0.0, float("inf")
        self._is_exposed = False
        self.start()

    def start(self) -> None:
        """Begin a period; what has passed since the last `read` is left out."""
        self._steps.clear()
        self._start = self._clock.mark()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Enclose the launches of a step, which begins when its batch is on the device."""
        held = None
        if self._is_exposed and self._is_work_step():
            held = self._clock.mark()
            self._clock.hold(min(1.5 * self._launch_seconds + 0.001, MAX_HOLD_SECONDS))
        began, launched = self._clock.mark(), self._host_time()
        yield
        ended = self._clock.mark()
        if held is None:
            self._launch_seconds = self._host_time() - launched
            self._is_exposed = self._clock.is_past(began)
        is_exposed = held is None and self._is_exposed
        self._steps.append(_Step(held=held, began=began, ended=ended, is_exposed=is_exposed))
        self._num_steps += 1

    def read(self) -> tuple[float, float]:
        """The seconds since `start`, and those of them in which the device was idle.

        The device must have done all that was queued: call this where its numbers have been read.
        """
        now = self._clock.mark()
        steps, self._steps = self._steps, []
        taken = [self._clock.seconds(step.began, step.ended) for step in steps]
        for step, seconds in zip(steps, taken, strict=True):
            if step.held is not None:
                self._work_seconds = seconds
        holds = [self._clock.seconds(s.held, s.began) for s in steps if s.held is not None]
        total = self._clock.seconds(self._start, now) - sum(holds)
        busy = sum(
            min(seconds, self._work_seconds) if step.is_exposed else seconds
            for step, seconds in zip(steps, taken, strict=True)
        )
        return total, min(max(total - busy, 0.0), total)

    def _is_work_step(self) -> bool:
        return self._num_steps in _FIRST_WORK_STEPS or self._num_steps % _WORK_STEPS == 0
