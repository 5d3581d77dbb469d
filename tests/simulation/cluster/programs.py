"""Programs of the simulated SLURM: their answers, asked for in place of real processes."""

import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from simulation.cluster.clock import Clock
from simulation.cluster.nodes import Nodes, SiteFacts
from simulation.cluster.queue import Element, array_size, script_options

from kdbatch.launch.machine import Answer
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.sbatch import call

SECONDS = {
    "sbatch": 2.0,
    "squeue": 1.0,
    "sacct": 2.0,
    "scontrol": 0.5,
    "scancel": 0.5,
    "sinfo": 0.5,
}
"""How long each program takes to answer."""
TIMED_OUT = "Socket timed out on send/recv operation"


class Programs:
    """`calls` counts the calls of each program in each hour, also those that fail. A share of them
    fails as the controller is busy; sbatch has then handed the job over every second time.
    """

    def __init__(self, nodes: Nodes, facts: SiteFacts, clock: Clock, rng: random.Random) -> None:
        self._nodes, self._queue, self._facts = nodes, nodes.queue, facts
        self._clock, self._rng = clock, rng
        self.calls: dict[int, Counter[str]] = defaultdict(Counter)
        self.num_refused = 0
        self._copy = 0.0, ""

    def install(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        """Answer in place of the programs, whose names are on PATH; to really run one fails."""
        folder.mkdir()
        for name in (*SECONDS, "srun"):
            (folder / name).write_text("#!/bin/sh\nexit 99\n")
            (folder / name).chmod(0o755)
        patch.setenv("PATH", str(folder), prepend=":")
        assert shutil.which("sbatch") == str(folder / "sbatch")
        for module in (commands, call):
            patch.setattr(module, "ask", self.ask)

    def ask(self, command: Sequence[str], *, stdin: str = "", seconds: float) -> Answer:
        """As machine.ask; time passes, and with it the jobs of the queue go on."""
        name, *words = command
        self.calls[self._clock.hour][name] += 1
        self._clock.advance(SECONDS[name])
        is_busy = self._rng.random() < self._facts.busy_share
        if is_busy and (name != "sbatch" or self._rng.random() < 0.5):
            return _failed(name, TIMED_OUT)
        answer = getattr(self, f"_{name}")(words, stdin)
        return _failed(name, TIMED_OUT) if is_busy else answer

    def _sbatch(self, words: Sequence[str], stdin: str) -> Answer:
        (script,) = map(Path, words)
        size = array_size(script_options(script)) or 1
        if size > self._facts.max_array_size:
            return _refused("Invalid job array specification")
        if len(self._queue.live) + size > self._facts.max_submit_jobs:
            self.num_refused += 1
            return _refused(
                "Job violates accounting/QOS policy (job submit limit, user's size and/or time "
                "limits)",
                "sbatch: error: AssocMaxSubmitJobLimit\n",
            )
        return _answer(f"Submitted batch job {self._queue.add(script)}\n")

    def _squeue(self, words: Sequence[str], stdin: str) -> Answer:
        assert {"--me", "--all", "--array", "--noheader"} <= set(words), words
        form = _value(words, "--format")
        made_at, printed = self._copy
        if self._clock.now - made_at >= self._facts.copy_seconds:
            printed = "".join(_filled(form, element) for element in self._queue.live.values())
            self._copy = self._clock.now, printed
        return _answer(printed)

    def _sacct(self, words: Sequence[str], stdin: str) -> Answer:
        columns = _value(words, "--format").split(",")
        chosen: Iterable[Element] = self._queue.elements.values()
        if ids := _value(words, "--jobs"):
            known = (self._queue.elements.get(job_id) for job_id in ids.split(","))
            chosen = [element for element in known if element]
        if name := _value(words, "--name"):
            chosen = [e for e in chosen if e.job.options["job-name"] == name]
        rows = ([_column(column, element) for column in columns] for element in chosen)
        return _answer("".join("|".join(row) + "\n" for row in rows))

    def _scontrol(self, words: Sequence[str], stdin: str) -> Answer:
        for ids, after in re.findall(r"^update JobId=(\S+) Dependency=(\S+)$", stdin, re.M):
            for element in map(self._queue.live.get, ids.split(",")):
                if element:
                    self._queue.wait(element, after)
        if words[:3] == ["--oneliner", "show", "job"]:
            found = self._queue.named(words[3])
            lines = "".join(map(_record, found))
            return _answer(lines) if lines else _failed("scontrol", "Invalid job id specified")
        if words[:1] == ["release"]:
            for element in self._queue.named(words[1]):
                self._queue.release(element)
        assert stdin or words[0] in ("release", "ping"), words
        return _answer("")

    def _scancel(self, words: Sequence[str], stdin: str) -> Answer:
        for word in words:
            name = word.removeprefix("--name=")
            named = [e for e in self._queue.live.values() if e.job.options["job-name"] == name]
            for element in [*named, *self._queue.named(word)]:
                self._nodes.cancel(element)
        return _answer("")

    def _sinfo(self, words: Sequence[str], stdin: str) -> Answer:
        return _answer("gpu*|2-00:00:00|gpu:4\n")


def _answer(text: str) -> Answer:
    return Answer(code=0, text=text, errors="")


def _failed(name: str, error: str) -> Answer:
    return Answer(code=1, text="", errors=f"{name}: error: {error}\n")


def _refused(error: str, before: str = "") -> Answer:
    errors = f"{before}sbatch: error: Batch job submission failed: {error}\n"
    return Answer(code=1, text="", errors=errors)


def _value(words: Sequence[str], option: str) -> str:
    """The value of --option=VALUE; empty where it is not given."""
    return next((w.partition("=")[2] for w in words if w.startswith(f"{option}=")), "")


def _filled(form: str, element: Element) -> str:
    """A line of squeue: %i id, %j name, %T state, %r reason."""
    known = {
        "%i": element.id,
        "%j": element.job.options["job-name"],
        "%T": element.state,
        "%r": element.reason,
    }
    return re.sub("%.", lambda found: known[found[0]], form) + "\n"


def _record(element: Element) -> str:
    """A line of `scontrol show job`."""
    number, _, index = element.id.partition("_")
    array = f" ArrayJobId={number} ArrayTaskId={index}" if index else ""
    name = element.job.options["job-name"]
    facts = f"JobName={name} JobState={element.state} Reason={element.reason}"
    return f"JobId={number}{array} {facts}\n"


def _column(name: str, element: Element) -> str:
    return {
        "JobID": element.id,
        "JobName": element.job.options["job-name"],
        "State": element.state,
        "NodeList": element.node,
    }[name]
