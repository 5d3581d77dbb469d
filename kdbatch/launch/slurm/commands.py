"""What SLURM's own commands say and do, asked again when the controller is busy."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.launch.machine import has_command, no_slurm_variables, queue_kind

PAUSES = (2.0, 8.0, 30.0)
"""Seconds before each new try: together less than a person waits, and more than a controller's
restart takes.
"""

ASK_SECONDS = 10.0  # between two questions of one that looks often: SLURM serves everybody
ONCE_SECONDS = 20  # for an answer, where there is something to show without one

# What SLURM's clients print when the controller is busy, restarting or out of reach: the same
# question may be answered later.
TRANSIENT = (
    "socket timed out",
    "unable to contact slurm controller",
    "connection refused",
    "connection timed out",
    "connection reset",
    "temporarily unable",
    "temporarily unavailable",
    "zero bytes were transmitted",
    "controller is in standby",
    "transport endpoint is not connected",
)


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that SLURM has not ended. `id` is 41, or 41_3 for an element of an array; `reason` says
    why it is not running.
    """

    id: str
    name: str = ""
    state: str = ""
    reason: str = ""

    @property
    def number(self) -> str:
        return self.id.partition("_")[0]

    @property
    def is_held(self) -> bool:
        return self.reason in ("JobHeldUser", "JobHeldAdmin")


def queued_jobs(*, once: bool = False) -> tuple[QueuedJob, ...]:
    """The user's jobs, pending ones and those of hidden partitions included, one per array element;
    none where there is no SLURM. `once` is for who has something to show without an answer.

    Raises:
        UserError: squeue does not answer. Without it a run could be submitted twice.
    """
    if not has_command("squeue"):
        return ()
    lines = run_command(
        "squeue", "--me", "--all", "--array", "--noheader", "--format=%i|%j|%T|%r", once=once
    ).splitlines()
    fields = (
        dict(zip(("id", "name", "state", "reason"), line.strip().split("|")))
        for line in lines
        if line.strip()
    )
    return tuple(QueuedJob(**job) for job in fields)


def run_command(*command: str, told: str = "", once: bool = False) -> str:
    """What the command prints, when its standard input is `told`. `once`: it is not asked again,
    nor waited for long.

    Raises:
        UserError: it fails, or does not answer, as often as we try.
    """
    # a controller that limits its clients' rate lets two requests a second pass
    seconds = ONCE_SECONDS if once else 120 + told.count("\n")
    for pause in (*(() if once else PAUSES), None):
        try:
            with no_slurm_variables():
                return subprocess.run(
                    command, input=told, capture_output=True, text=True, timeout=seconds, check=True
                ).stdout
        except subprocess.CalledProcessError as error:
            said, again = error.stderr.strip() or "failed", is_transient(error.stderr)
        except subprocess.TimeoutExpired:
            said, again = f"no answer within {seconds} s", True
        if pause is None or not again:
            typed = " ".join((*command, *told.splitlines()[:1]))
            hint = "Is the controller up? Ask it: scontrol ping" if again else f"Try it: {typed}"
            raise UserError(f"{command[0]}: {said}. {hint}")
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


class JobsCache:
    """The ids of the jobs that SLURM has, for who looks often: it is asked every ASK_SECONDS at
    most.

    None where there is no SLURM, or where it does not answer. That is told, and the files say the
    rest.
    """

    def __init__(self, *, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._has_slurm, self._answers = queue_kind() == "slurm", True
        self._asked_at, self._live = -ASK_SECONDS, None

    def live(self) -> set[str] | None:
        if self._has_slurm and time.monotonic() - self._asked_at >= ASK_SECONDS:
            self._live = self._ask()
            self._asked_at = time.monotonic()
        return self._live

    def _ask(self) -> set[str] | None:
        try:
            live = {job.id for job in queued_jobs(once=True)}
        except UserError as error:
            if self._answers:
                self._tell(
                    f"SLURM does not answer, so this is what the files say ({' '.join(str(error).split())})"
                )
            self._answers = False
            return None
        self._answers = True
        return live


def is_transient(text: str) -> bool:
    return any(words in text.lower() for words in TRANSIENT)
