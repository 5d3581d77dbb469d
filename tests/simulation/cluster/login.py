"""A user at the login node of the simulated cluster, and what each of his commands costs there."""

import contextlib
import io
import random
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from simulation.cluster.clock import Clock
from simulation.cluster.nodes import Nodes, SiteFacts
from simulation.cluster.programs import Programs
from simulation.cluster.worker import Workers
from support.file_calls import KEPT_DESCRIPTORS, FileCalls

from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A command, what it printed, and what it cost the login node: processor seconds, calls of the
    file system by name, and the descriptors that it had open at once.
    """

    command: str
    code: int
    text: str
    cpu_seconds: float
    files: Counter[str]
    most_open: int

    def line(self) -> str:
        calls = ", ".join(f"{num:,} {name}" for name, num in self.files.most_common(4))
        return (
            f"{self.command}: {self.cpu_seconds:.1f} CPU-s, {self.files.total():,} calls ({calls})"
        )


class Login:
    """Types commands. What happens on the cluster meanwhile is not counted."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, facts: SiteFacts) -> None:
        rng = random.Random(0)
        self.clock = Clock()
        self.workers = Workers(self.clock, rng)
        self.nodes = Nodes(facts, self.clock, rng, self.workers.start)
        self.programs = Programs(self.nodes, facts, self.clock, rng)
        self.programs.install(patch, folder / "bin")
        self._outside = 0.0
        self.files = FileCalls().install(patch)
        self.clock.install(patch, sleep=self.sleep)
        self._wrap_advance(patch)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = KEPT_DESCRIPTORS + facts.max_submit_jobs + 100
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))

    def sleep(self, seconds: float) -> None:
        """Let time pass in the code that sleeps; a look may follow, so workers write heartbeats."""
        self.clock.advance(seconds)
        with self._not_counted():
            self.workers.beat()

    def type(self, *words: str) -> Cost:
        """Type a command."""
        with self._not_counted():
            self.workers.beat()
        self.files.restart()
        self._outside = 0.0
        out, begun = io.StringIO(), time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = dispatch(Commands(), list(words))
        return Cost(
            command=" ".join(words),
            code=code,
            text=out.getvalue(),
            cpu_seconds=time.process_time() - begun - self._outside,
            files=self.files.counts,
            most_open=self.files.most_open,
        )

    def _wrap_advance(self, patch: pytest.MonkeyPatch) -> None:
        advance = self.clock.advance

        def not_counted(seconds: float) -> None:
            with self._not_counted():
                advance(seconds)

        patch.setattr(self.clock, "advance", not_counted)

    @contextlib.contextmanager
    def _not_counted(self) -> Iterator[None]:
        if not self.files.is_counting:
            yield
            return
        begun, self.files.is_counting = time.process_time(), False
        try:
            yield
        finally:
            self.files.is_counting = True
            self._outside += time.process_time() - begun
