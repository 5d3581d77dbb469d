"""The local queue: the plan's runs on this machine, parents before children, a few at a time."""

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from types import FrameType

from kdbatch.base.errors import UserError
from kdbatch.launch.live_queues import announce_queue
from kdbatch.launch.local.local_queue import LocalQueue
from kdbatch.launch.local.worker import worker_command
from kdbatch.launch.machine import visible_gpus
from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.status import RunState

Snapshot = tuple[RunRow, ...]
REPORT_SECONDS = 0.5
TICK_SECONDS = 0.03


@dataclass(frozen=True, kw_only=True)
class LocalOutcome:
    """How the queue ended: a row per run of the plan, and whether a signal stopped it, or else a
    full disk: `disk_full` is where no space was found, and how much is left.
    """

    rows: Snapshot
    interrupted: bool
    disk_full: str = ""

    def count(self, state: RunState) -> int:
        """The number of runs in this state."""
        return sum(row.state == state for row in self.rows)

    @property
    def complete(self) -> bool:
        """Whether every run is done."""
        return self.count("done") == len(self.rows)

    @property
    def summary(self) -> str:
        """The number of runs in each state, in one line."""
        by_state = Counter(row.state for row in self.rows)  # in the order of the rows
        return ", ".join(f"{num} {state}" for state, num in by_state.items()) or "nothing to do"


def no_progress(rows: Snapshot) -> None:
    """Show nothing."""


def run_locally(
    plan: Plan,
    *,
    config: Config,
    jobs: int,
    progress: Callable[[Snapshot], None] = no_progress,
    command: tuple[str, ...] = (),
) -> LocalOutcome:
    """Run what is not done, `jobs` workers at a time, until no more can be run.

    `progress` is called with the state of every run twice a second. The first Ctrl-C (or SIGTERM,
    SIGHUP) asks the workers for their checkpoints and waits for them; the second kills them.
    `command` starts a worker, given its run folder; empty means the real worker, in the image where
    there is one.

    Raises:
        UserError: `jobs` is below 1, or the image is missing.
    """
    if jobs < 1:
        raise UserError(
            f"--jobs {jobs}: must be at least 1. Leave it out for one run per GPU or core."
        )
    command = command or worker_command(config)
    with announce_queue(config.runs_dir) as publish, _counting_stop_signals() as count_stops:
        write_runs(plan, config=config)
        queue = LocalQueue(plan, config=config, jobs=jobs, gpus=visible_gpus(), command=command)
        try:
            _drive(queue, progress=progress, count_stops=count_stops, publish=publish)
        finally:
            queue.close()
        return LocalOutcome(
            rows=queue.snapshot(),
            interrupted=queue.stopping and not queue.disk_full,
            disk_full=queue.disk_full,
        )


def _drive(
    queue: LocalQueue,
    *,
    progress: Callable[[Snapshot], None],
    count_stops: Callable[[], int],
    publish: Callable[[Collection[str]], None],
) -> None:
    next_report = 0.0
    while queue.is_busy():
        queue.start_ready()
        publish(queue.waiting)
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
    """Count SIGINT, SIGTERM and SIGHUP inside. One that is ignored stays so, as nohup intends."""
    received: list[int] = []

    def record(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    counted = [s for s, handler in before.items() if handler is not signal.SIG_IGN]
    for number in counted:
        signal.signal(number, record)
    try:
        yield lambda: len(received)
    finally:
        for number in counted:
            signal.signal(number, before[number])
