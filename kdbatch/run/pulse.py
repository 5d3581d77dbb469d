"""The worker's pulse: its status on disk, and whether it has been asked to stop."""

import os
import signal
import socket
import threading
import time
from dataclasses import replace
from types import FrameType

from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import HEARTBEAT_SECONDS, State, Status, load_status, save_status


class Stopped(Exception):
    """Asked to stop, and progress is saved."""


class StopFlag:
    """Raised by SIGTERM, SIGINT or SIGUSR2, however many come; the loop acts on it between two steps."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> "StopFlag":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._on_signal)
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class Pulse:
    """Writes status.json every HEARTBEAT_SECONDS and at every change of state, from the first moment to the last.

    Of processes that train together only the leader `writes`.
    """

    def __init__(self, folder: RunFolder, *, device: str, stop: StopFlag, writes: bool = True) -> None:
        self._writes = writes
        self._folder = folder
        self._earlier = load_status(folder.status) or Status(state="queued")
        now = time.time()
        self._status = Status(
            state="running",
            attempt=self._earlier.attempt + 1,
            started_at=now,
            heartbeat_at=now,
            seconds=self._earlier.seconds,
            host=socket.gethostname(),
            pid=os.getpid(),
            device=device,
        )
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._stop = stop

    def __enter__(self) -> "Pulse":
        self._save()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    @property
    def stop_asked(self) -> bool:
        return self._stop.asked

    @property
    def attempt(self) -> int:
        return self._status.attempt

    @property
    def seconds(self) -> float:
        """Time spent on this run, in all attempts."""
        return self._earlier.seconds + time.time() - self._status.started_at

    def tell(self, *, step: int, num_steps: int, metric: str = "") -> None:
        """Progress, for the next heartbeat; free of cost."""
        with self._guard:
            self._status = replace(self._status, step=step, num_steps=num_steps, metric=metric or self._status.metric)

    def check(self) -> None:
        """Raises Stopped when a signal has asked for it. Called where everything worth keeping is on disk."""
        if self.stop_asked:
            raise Stopped

    def end(self, state: State, *, reason: str = "") -> None:
        """The last word of this attempt."""
        self._ended.set()
        with self._guard:
            self._status = replace(self._status, state=state, reason=reason)
        self._save()

    def _beat(self) -> None:
        pause = 0.5  # the first beats come fast, so that a watcher of a short run sees it move
        while not self._ended.wait(pause):
            self._save()
            pause = min(HEARTBEAT_SECONDS, pause * 1.5)

    def _save(self) -> None:
        with self._guard:
            self._status = replace(self._status, heartbeat_at=time.time(), seconds=self.seconds)
            if self._writes:
                save_status(self._folder.status, self._status)
