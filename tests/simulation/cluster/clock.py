"""Simulated time: it passes while the code sleeps, or waits for an answer of SLURM."""

import heapq
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kdbatch.base import file_clock

BEGIN = 1_900_000_000.0  # seconds since 1970


class Clock:
    """Events in the order of their times. `host` is the machine that the code runs on now."""

    def __init__(self) -> None:
        self.now, self.host = BEGIN, "login1"
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    @property
    def hour(self) -> int:
        return int((self.now - BEGIN) // 3600)

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Let `act` happen at a time; of several at the same time, the first call is first."""
        heapq.heappush(self._events, (when, next(self._order), act))

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that happens in it."""
        until = self.now + seconds
        while self._events and self._events[0][0] <= until:
            when, _, act = heapq.heappop(self._events)
            self.now = max(self.now, when)
            act()
        self.now = max(self.now, until)

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Inside, the code runs on another machine."""
        before, self.host = self.host, host
        try:
            yield
        finally:
            self.host = before

    def install(self, patch: pytest.MonkeyPatch, *, sleep: Callable[[float], None]) -> None:
        """Make it the clock of this process, and of new files. Nothing waits for the disk: its
        speed is not that of a file server, and calls are counted instead.
        """
        patch.setattr(time, "time", lambda: self.now)
        patch.setattr(time, "monotonic", lambda: self.now)
        patch.setattr(time, "sleep", sleep)
        patch.setattr(socket, "gethostname", lambda: self.host)
        patch.setattr(os, "fsync", lambda _: None)
        file_clock._seconds_ahead.cache_clear()
        patch.setattr(file_clock, "_time_of_new_file", lambda _: self.now)
        patch.setattr(file_clock, "_seconds_since_boot", lambda: self.now)
