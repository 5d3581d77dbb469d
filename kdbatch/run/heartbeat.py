"""The worker's pulse: its status on disk, and whether it has been asked to stop."""

import contextlib
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from types import FrameType

from kdbatch.vocab.retry_policy import (
    CAUSE_TEXT,
    Start,
    cause_of_stop,
    count_interruptions,
    refusal,
)
from kdbatch.vocab.runs import Retries, RunFolder
from kdbatch.vocab.status import (
    HEARTBEAT_SECONDS,
    Cause,
    RunState,
    Status,
    load_status,
    save_status,
)

NO_SCHEDULER, DEFAULT_RETRIES = Start(), Retries()  # of a worker that no scheduler has started


class Stopped(Exception):
    """Asked to stop, and progress is saved."""


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class StopSignal:
    """Raised by any of STOP_SIGNALS, however many come; the loop acts on it between two steps. The
    first one says why.
    """

    def __init__(self) -> None:
        self.requested = False
        self.requested_at = 0.0
        self.early_warning = False

    def listen(self) -> "StopSignal":
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        return self

    @staticmethod
    def ignore_signals() -> None:
        """For a worker that has said how it ended. Python forgets its handlers some time before the
        process is gone, and not what it ignores; in between, the SIGTERM that srun sends when
        another process of the team ends first would replace the exit code by 143, after which
        nobody puts the run back into the queue.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested_at, self.early_warning = time.time(), number == signal.SIGUSR2
        self.requested = True


class StatusReporter:
    """Writes status.json every HEARTBEAT_SECONDS and at every change of state, from the first
    moment to the last.

    Of processes that train together only the leader `writes`. `refusal` says why the run must not
    be tried again; empty if it may be.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        device: str,
        stop: StopSignal,
        start: Start = NO_SCHEDULER,
        retries: Retries = DEFAULT_RETRIES,
        writes: bool = True,
    ) -> None:
        self._folder, self._start, self._writes = folder, start, writes
        self._earlier = load_status(folder.status) or Status(state="queued")
        ended, fruitless = count_interruptions(self._earlier, start)
        self.refusal = refusal(ended, fruitless, retries=retries)
        now = time.time()
        self._status = Status(
            state="running",
            attempt=self._earlier.attempt + 1,
            step=self._earlier.step,
            num_steps=self._earlier.num_steps,
            first_step=self._earlier.step,
            started_at=now,
            heartbeat_at=now,
            seconds=self._earlier.seconds,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=device,
            job=start.job,
            restart=start.restart,
            ended=ended,
            fruitless=fruitless,
        )
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._stop = stop
        self._has_told = False

    def __enter__(self) -> "StatusReporter":
        self._save()
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beats.join()  # a beat half written would replace what the next attempt says

    @property
    def stop_requested(self) -> bool:
        """By a signal, or because the time limit is near and none came."""
        return self._stop.requested or self._start.is_over(time.time())

    @property
    def interruptions(self) -> dict[Cause, int]:
        """How the attempts before this one ended."""
        return dict(self._status.ended)

    @property
    def attempt(self) -> int:
        return self._status.attempt

    @property
    def seconds(self) -> float:
        """Time spent on this run, in all attempts."""
        return self._earlier.seconds + time.time() - self._status.started_at

    def update(self, *, step: int, num_steps: int, metric: str = "") -> None:
        """Progress, for the next heartbeat and free of cost; the first of an attempt is told at
        once: a watcher sees it begin.
        """
        with self._guard:
            self._status = replace(
                self._status, step=step, num_steps=num_steps, metric=metric or self._status.metric
            )
        if not self._has_told:
            self._has_told = True
            self._try_to_save()

    def raise_if_stopped(self) -> None:
        """Raises Stopped when a signal has asked for it. Called where everything worth keeping is
        on disk.
        """
        if self.stop_requested:
            raise Stopped

    def end(self, state: RunState, *, reason: str = "") -> None:
        """The last word of this attempt; why it was stopped is known here, where the caller gives
        no reason of its own.
        """
        self._ended.set()
        cause = (self._cause() if not reason else "crash") if state == "stopped" else None
        if cause and not reason:
            reason = f"{CAUSE_TEXT[cause]}; progress is saved"
        with self._guard:
            self._status = replace(self._status, state=state, reason=reason, cause=cause)
        self._save()

    def _cause(self) -> Cause:
        if not self._stop.requested:  # the limit is near, or another process of the team was asked
            return "timeout" if self._start.is_over(time.time()) else "asked"
        return cause_of_stop(
            self._start, at=self._stop.requested_at, early_warning=self._stop.early_warning
        )

    def _beat(self) -> None:
        pause = 0.25  # the first beats come fast, so that a watcher of a short run sees it move
        while not self._ended.wait(pause):
            self._try_to_save()
            pause = min(HEARTBEAT_SECONDS, pause * 1.25)

    def _try_to_save(self) -> None:
        with contextlib.suppress(
            OSError
        ):  # a full or slow disk costs a beat, not the run, nor the beats after it
            self._save()

    def _save(self) -> None:
        with self._guard:
            self._status = replace(self._status, heartbeat_at=time.time(), seconds=self.seconds)
            if self._writes:
                save_status(self._folder.status, self._status)
