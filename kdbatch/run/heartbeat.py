"""The worker's heartbeat: writes status.json, and records signals that ask it to stop."""

import contextlib
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

from kdbatch.base.text import duration
from kdbatch.vocab.attempts.exit_rules import OUT_OF_MEMORY
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.retry_policy import (
    CAUSE_TEXT,
    cause_of_end,
    cause_of_stop,
    count_interruptions,
    refusal,
)
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import (
    HEARTBEAT_SECONDS,
    Cause,
    RunState,
    Status,
    load_status,
    overwrite_status,
    save_status,
)

_log = logging.getLogger(__name__)
# The defaults of a worker that was not started by a scheduler.
NO_SCHEDULER, DEFAULT_RETRIES = Start(), Retries()


class Stopped(Exception):
    """The run was asked to stop, and its progress is saved."""


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class StopSignal:
    """A flag that any of STOP_SIGNALS sets; training acts on it between two steps.

    The first signal determines the cause of the stop; later ones are ignored.
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
        """Ignore STOP_SIGNALS once the worker has recorded how it ended.

        At exit Python drops its signal handlers some time before the process ends, but keeps
        ignored signals ignored. In between, the SIGTERM that srun sends when another rank ends
        first would replace the exit code by 143, and the run would not be requeued.
        """
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested_at, self.early_warning = time.time(), number == signal.SIGUSR2
        self.requested = True


def _ran_out_of_memory(folder: RunFolder, job: str) -> bool:
    """Whether the script of an earlier job saw its last start run out of memory."""
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job, re.ASCII):
        return False
    for submission in folder.path.parent.glob("slurm/*/"):
        with contextlib.suppress(OSError):
            text = (submission / f"{job}.ended").read_text(errors="replace")
            return text.rstrip("\n").endswith(f" {OUT_OF_MEMORY}")
    return False


class StatusReporter:
    """Writes status.json every HEARTBEAT_SECONDS and at every change of state.

    Only rank 0 `writes`. `watts` is the power that its device draws now. `refusal` is the reason
    why the run must not be tried again, and empty if it may be. `lost_node` is the node that was
    lost with the attempt before, if one was.
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
        watts: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._folder, self._start, self._writes = folder, start, writes
        self._earlier = load_status(folder.status) or Status(state="queued")
        had_memory = not _ran_out_of_memory(folder, self._earlier.job)
        ended, fruitless = count_interruptions(self._earlier, start, had_memory=had_memory)
        is_lost = cause_of_end(self._earlier, start) == "node_failure"
        self.lost_node = self._earlier.node if is_lost else ""
        self.refusal = refusal(ended, fruitless, retries=retries)
        now = time.time()
        self._status = Status(
            state="running",
            attempt=self._earlier.attempt + 1,
            step=self._earlier.step,
            num_steps=self._earlier.num_steps,
            first_step=self._earlier.saved_step,
            saved_step=self._earlier.saved_step,
            saved_seconds=self._earlier.seconds,
            lost_seconds=self._earlier.lost_seconds + self._earlier.unsaved_seconds,
            energy_joules=self._earlier.energy_joules,
            started_at=now,
            heartbeat_at=now,
            seconds=self._earlier.seconds,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=device,
            node=start.node,
            job=start.job,
            restart=start.restart,
            ended=ended,
            fruitless=fruitless,
        )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write_heartbeats, daemon=True)
        self._stop, self._has_progress = stop, False
        self._watts, self._measured_at = watts, now

    def __enter__(self) -> "StatusReporter":
        self._save()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # A heartbeat still being written would replace the status of the next attempt.
        self._thread.join()

    @property
    def stop_requested(self) -> bool:
        """Whether a signal asked to stop, or the time limit is near."""
        return self._stop.requested or self._start.is_over(time.time())

    @property
    def interruptions(self) -> dict[Cause, int]:
        """The number of earlier attempts that ended by each cause."""
        return dict(self._status.ended)

    @property
    def attempt(self) -> int:
        return self._status.attempt

    @property
    def host(self) -> str:
        return self._status.host

    @property
    def job(self) -> str:
        """The job that started this attempt; empty without a scheduler."""
        return self._start.job

    @property
    def seconds(self) -> float:
        """The time spent on this run, in all attempts."""
        return self._earlier.seconds + time.time() - self._status.started_at

    def update(self, *, step: int, num_steps: int, metric: str = "") -> None:
        """Record progress for the next heartbeat.

        The first progress of an attempt is written at once, to show that it has begun.
        """
        with self._lock:
            self._status = replace(
                self._status, step=step, num_steps=num_steps, metric=metric or self._status.metric
            )
        if not self._has_progress:
            self._has_progress = True
            self._try_to_save()

    def note_loaded(self, step: int) -> None:
        """Record the step of the checkpoint from which this attempt goes on: the attempt before it
        may have been killed between its checkpoint and its status.
        """
        with self._lock:
            self._status = replace(self._status, first_step=step, saved_step=step)

    def note_saved(self) -> None:
        """Record that a checkpoint has all steps so far."""
        with self._lock:
            self._status = replace(
                self._status, saved_step=self._status.step, saved_seconds=self.seconds
            )
        self._try_to_save()

    def show(self, metric: str, *, test_top1: float | None = None) -> None:
        """Record the result to show, and the accuracy on the test split in percent."""
        with self._lock:
            self._status = replace(self._status, metric=metric, test_top1=test_top1)

    def raise_if_stopped(self) -> None:
        """Raise Stopped if a stop is requested.

        To be called where the progress is on disk.
        """
        if self.stop_requested:
            raise Stopped

    def end(self, state: RunState, *, reason: str = "", cause: Cause | None = None) -> None:
        """Write the final status of this attempt; in place, where the disk is full. Where the disk
        refuses that, too, the log and the exit code have it.

        Where it was stopped and `reason` is empty, cause and reason are those of the stop request.
        """
        self._ended.set()
        if state == "stopped" and cause is None:
            cause = "crash" if reason else self._cause()
            reason = reason or f"{CAUSE_TEXT[cause]}; progress is saved"
        with self._lock:
            self._status = replace(self._status, state=state, reason=reason, cause=cause)
        try:
            self._save()
        except OSError:
            overwrite_status(self._folder.status, self._status)
        status = self._status
        _log.info(
            "%s%s; step %d of %d, %s in all attempts",
            state,
            f": {reason}" if reason else "",
            status.step,
            status.num_steps,
            duration(status.seconds),
        )

    def _cause(self) -> Cause:
        # Without a signal, the time limit is near or another rank was asked to stop.
        if not self._stop.requested:
            return "timeout" if self._start.is_over(time.time()) else "asked"
        return cause_of_stop(
            self._start, at=self._stop.requested_at, early_warning=self._stop.early_warning
        )

    def _write_heartbeats(self) -> None:
        pause = 0.25  # the first heartbeats are frequent, to show the progress of a short run
        while not self._ended.wait(pause):
            self._measure_energy()
            self._try_to_save()
            pause = min(HEARTBEAT_SECONDS, pause * 1.25)

    def _measure_energy(self) -> None:
        """Add the energy since the last heartbeat, at the power that is drawn now."""
        now, watts = time.time(), self._watts()
        if watts is not None:
            joules = (self._status.energy_joules or 0.0) + watts * (now - self._measured_at)
            with self._lock:
                self._status = replace(self._status, energy_joules=max(0.0, joules))
        self._measured_at = now

    def _try_to_save(self) -> None:
        # A full or slow disk costs one heartbeat, not the run nor later heartbeats.
        with contextlib.suppress(OSError):
            self._save()

    def _save(self) -> None:
        with self._lock:
            self._status = replace(self._status, heartbeat_at=time.time(), seconds=self.seconds)
            if self._writes:
                save_status(self._folder.status, self._status)
