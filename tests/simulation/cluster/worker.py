"""Workers and scripts of jobs write to the study what real ones would, at simulated times."""

import contextlib
import dataclasses
import fcntl
import os
import random
from collections import Counter
from pathlib import Path

from simulation.cluster.clock import Clock
from simulation.cluster.queue import Element, Process
from submitit.core.utils import DelayedSubmission
from support.file_calls import KEPT_DESCRIPTORS

from kdbatch.launch.slurm.target import Target
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.attempts.exit_rules import (
    EXIT_BLOCKED,
    EXIT_BUG,
    EXIT_BUSY,
    EXIT_DONE,
    EXIT_NO_CONTAINER,
    EXIT_STOPPED,
    exit_rule,
)
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.start import EXIT, Start
from kdbatch.vocab.done import Done, Provenance, StageFacts, save_done
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.status import load_status, save_status

MINUTES = {"pretrain": 30, "finetune": 18, "distill": 24, "retrieve": 4, "compare": 4, "import": 1}
"""Minutes that a run of each kind takes in the median."""
NUM_STEPS = 1000
SICK_SHARE = 0.005  # of the starts fail before the worker: the container does not come up


class Workers:
    """Starts workers, and counts how runs end: `done` has the number of times that each was trained
    to its end, `doubled` those that were started while another process had them.
    """

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self.done: Counter[str] = Counter()
        self.attempts, self.doubled, self.needless, self.failed = 0, 0, 0, Counter[str]()
        self.running: dict[str, Attempt] = {}

    def start(self, element: Element, host: str, ends_at: float) -> tuple[Process, float]:
        """The process of an element, and the seconds that its work takes."""
        submitted = DelayedSubmission.load(element.job.folder / f"{element.id}_submitted.pkl")
        target = submitted.function
        assert isinstance(target, Target)
        folder = RunFolder(Path(target.run_dir))
        attempt = Attempt(self, self._clock, element, folder, host=host)
        if self._rng.random() < SICK_SHARE:
            attempt.ends_with = EXIT_NO_CONTAINER
            return attempt, 5.0
        self.attempts += 1
        return attempt, attempt.begin(ends_at, last_state=(element.states or [""])[-1])

    def beat(self) -> None:
        """Write the heartbeats that are due: before somebody reads them suffices."""
        for attempt in self.running.values():
            attempt.beat()


class Attempt:
    """A start of a job's script, with the worker in it. `ends_with` is its exit code, if it ends
    before the stage.
    """

    def __init__(
        self, workers: Workers, clock: Clock, element: Element, folder: RunFolder, *, host: str
    ) -> None:
        self._workers, self._clock, self._element = workers, clock, element
        self._folder, self._host = folder, host
        self._ended = element.job.folder / f"{element.id}.ended"
        self._stop, self._lock = StopSignal(), -1
        self.ends_with: int | None = None
        self._retries = Retries()

    def begin(self, ends_at: float, *, last_state: str) -> float:
        """Do what run/main.py does before its stage; returns the seconds until the end."""
        if not self._take_lock():
            self._workers.doubled += 1
            self.ends_with = EXIT_BUSY
        elif self._folder.is_done():
            self._workers.needless += 1
            self.ends_with = EXIT_DONE
        if self.ends_with is not None:
            return 20.0
        self._assignment = self._folder.load(to_train=True)
        self._retries = self._assignment.retries
        start = Start(
            job=self._element.id,
            restart=self._element.restart,
            ends_at=ends_at,
            signal_seconds=float(self._element.job.warning_seconds),
            exits={int(found[1]): found[2] for found in EXIT.finditer(self._endings(";"))},
            last_state=last_state,
        )
        self._reporter = StatusReporter(
            self._folder, device="cuda", stop=self._stop, start=start, retries=self._retries
        )
        earlier = load_status(self._folder.status)
        self._first_step = earlier.step if earlier else 0
        self._began, self._seconds = self._clock.now, run_seconds(self._assignment)
        self._reporter.update(step=self._first_step, num_steps=NUM_STEPS)
        self._date_status()
        missing = [
            parent
            for parent in self._assignment.run.parents
            if not self._folder.parent(parent).is_done()
        ]
        if self._reporter.refusal:
            self._fail("failed", EXIT_BUG, self._reporter.refusal)
        elif missing:
            self._fail("blocked", EXIT_BLOCKED, f"parent {missing[0]} is not done")
        else:
            self._workers.running[self._element.id] = self
            return self._seconds * (1 - self._first_step / NUM_STEPS)
        return 20.0

    def _fail(self, state: str, code: int, reason: str) -> None:
        self._workers.failed[f"{state}: {reason}"] += 1
        self._reporter.end("failed" if state == "failed" else "blocked", reason=reason)
        self.ends_with = code

    @property
    def _step(self) -> int:
        passed = (self._clock.now - self._began) / self._seconds * NUM_STEPS
        return min(NUM_STEPS, self._first_step + int(passed))

    def beat(self) -> None:
        """Write a heartbeat, unless the last one is fresh."""
        status = load_status(self._folder.status)
        if status and self._clock.now - status.heartbeat_at > 30:
            now = self._clock.now
            fields = {"step": self._step, "heartbeat_at": now, "seconds": now - self._began}
            save_status(self._folder.status, dataclasses.replace(status, **fields))
            self._date_status()

    def finish(self) -> int:
        if self.ends_with is None:
            self._workers.done[self._folder.id] += 1
            self._reporter.update(step=NUM_STEPS, num_steps=NUM_STEPS)
            save_done(self._folder.done, self._record())
            self._reporter.end("done")
        return self._leave(EXIT_DONE)

    def stop(self, *, early: bool) -> int:
        if self.ends_with is None:
            self._stop.requested, self._stop.early_warning = True, early
            self._stop.requested_at = self._clock.now
            self._reporter.update(step=self._step, num_steps=NUM_STEPS)
            self._reporter.note_saved()
            self._reporter.end("stopped")
        return self._leave(EXIT_STOPPED)

    def vanish(self) -> None:
        self._leave(0)

    def may_start_again(self, code: int) -> bool:
        """As the end of job.sh, whose limits come from the same table."""
        with self._ended.open("a") as file:
            file.write(f"{self._element.restart} {code}\n")
        times = [line.split()[1] for line in self._endings("\n").split("\n") if line].count(
            str(code)
        )
        return times <= exit_rule(code).max_retries(self._retries)

    def _endings(self, separator: str) -> str:
        text = self._ended.read_text() if self._ended.exists() else ""
        return text.replace("\n", separator)

    def _take_lock(self) -> bool:
        lock = os.open(self._folder.lock, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._lock = fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, KEPT_DESCRIPTORS)
        os.close(lock)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _leave(self, code: int) -> int:
        self._workers.running.pop(self._element.id, None)
        if self._lock >= 0:
            os.close(self._lock)
        return code if self.ends_with is None else self.ends_with

    def _date_status(self) -> None:
        """A new file has the simulated time, too."""
        os.utime(self._folder.status, (self._clock.now, self._clock.now))

    def _record(self) -> Done:
        seconds = self._reporter.seconds
        assignment = self._assignment
        return Done(
            run_id=self._folder.id,
            kind=assignment.run.recipe.kind,
            title=assignment.title,
            finished_at=self._clock.now,
            seconds=seconds,
            device_hours=seconds / 3600,
            attempts=self._reporter.attempt,
            interruptions=self._reporter.interruptions,
            files={"rows.parquet": "0" * 64},
            provenance=Provenance(kdbatch_version="0.4.0", host=self._host, device="NVIDIA H100"),
            facts=StageFacts(clips_per_second=100.0, num_parameters=1_000_000),
        )


def run_seconds(assignment: Assignment) -> float:
    """The time that a run takes without interruptions: the same at each start."""
    rng = random.Random(assignment.run.id)
    return 60 * MINUTES[assignment.run.recipe.kind] * rng.lognormvariate(0, 0.4)
