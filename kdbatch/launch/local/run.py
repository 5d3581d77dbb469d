"""The local queue: the plan's runs on this machine, parents before children, a few at a time."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from kdbatch.base.errors import UserError
from kdbatch.launch.local.queue import LocalQueue
from kdbatch.launch.local.worker import worker_command
from kdbatch.launch.machine import visible_gpus
from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.run_status import RunRow
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan

Snapshot = tuple[RunRow, ...]
REPORT_SECONDS = 0.5
TICK_SECONDS = 0.03


@dataclass(frozen=True, kw_only=True)
class LocalOutcome:
    """How it ended: a row per run of the plan, and whether it was told to stop."""

    rows: Snapshot
    interrupted: bool

    def count(self, state: str) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def complete(self) -> bool:
        return self.count("done") == len(self.rows)

    @property
    def summary(self) -> str:
        """One line for a person."""
        states = list(dict.fromkeys(row.state for row in self.rows))
        counts = ", ".join(f"{self.count(state)} {state}" for state in states) or "nothing to do"
        return f"stopped ({counts}); the same command goes on" if self.interrupted else counts


def no_progress(rows: Snapshot) -> None:
    """Shows nothing."""


def run_locally(
    plan: Plan,
    *,
    config: Config,
    jobs: int,
    progress: Callable[[Snapshot], None] = no_progress,
    command: tuple[str, ...] = (),
) -> LocalOutcome:
    """Run what is not done, `jobs` workers at a time, until nothing more can be.

    `progress` gets the state of every run twice a second. The first Ctrl-C (or SIGTERM, SIGHUP)
    asks the workers for their checkpoints and waits for them; the second kills them. `command`
    starts a worker, given its run folder; none means the real one, in the image where there is one.

    Raises:
        UserError: no job at a time was allowed, or the image is not there.
    """
    if jobs < 1:
        raise UserError(
            f"--jobs {jobs}: at least 1 run at a time. Leave it out for one per GPU or core."
        )
    command = command or worker_command(config)
    write_runs(plan, config=config)
    queue = LocalQueue(plan, config=config, jobs=jobs, gpus=visible_gpus(), command=command)
    with _counting_stop_signals() as count_stops:
        try:
            _drive(queue, progress=progress, count_stops=count_stops)
        finally:
            queue.close()
        return LocalOutcome(rows=queue.snapshot(), interrupted=queue.stopping)


def _drive(
    queue: LocalQueue, *, progress: Callable[[Snapshot], None], count_stops: Callable[[], int]
) -> None:
    next_report = 0.0
    while queue.is_busy():
        queue.start_ready()
        if time.monotonic() >= next_report:
            progress(queue.snapshot())
            next_report = time.monotonic() + REPORT_SECONDS
        time.sleep(TICK_SECONDS)
        queue.collect()
        if count_stops() == 1:
            queue.stop()
        elif count_stops() > 1:
            queue.kill()
    progress(queue.snapshot())


@contextlib.contextmanager
def _counting_stop_signals() -> Iterator[Callable[[], int]]:
    """Inside, SIGINT, SIGTERM and SIGHUP are counted. One that is ignored stays so: nohup means it."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = [s for s, handler in before.items() if handler is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, note)
    try:
        yield lambda: len(received)
    finally:
        for number in heard:
            signal.signal(number, before[number])
