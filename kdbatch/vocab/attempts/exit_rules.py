"""The exit codes of a worker and of its job, and how often the job may start again after each."""

import signal
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.status import RunState

EXIT_DONE, EXIT_BUG, EXIT_USER = 0, 1, 2
EXIT_RENDEZVOUS, EXIT_DISK_FULL, EXIT_BUSY, EXIT_BLOCKED, EXIT_STOPPED = 69, 74, 75, 78, 85
EXIT_NO_CONTAINER = 255  # of apptainer

OUT_OF_MEMORY = "out of memory"  # words that the job's script adds to an exit code

RetryLimit = Literal["total", "startup", "none"]


@dataclass(frozen=True)
class ExitRule:
    """The meaning of an exit code, and the limit of restarts where only the exit code is known.

    `pattern` is the code, or several in the language of the shell's `case`. `limit` is how often
    the job's script starts the job again: `total` and `startup` are those of `Retries`, `none` is
    never. `state` is the state of a run that is not started again.
    """

    name: str
    pattern: str
    state: RunState
    meaning: str
    limit: RetryLimit = field(default="none", kw_only=True)

    def max_retries(self, retries: Retries) -> int:
        """How often the job's script may start the job again after this end."""
        return {"total": retries.total, "startup": retries.startup, "none": 0}[self.limit]

    @property
    def is_final(self) -> bool:
        """Whether the run has failed when the limit is used up."""
        return self.state not in ("running", "stopped")


EXIT_RULES = (
    ExitRule("done", str(EXIT_DONE), "done", "its worker wrote done.json"),
    ExitRule(
        "bug",
        str(EXIT_BUG),
        "failed",
        "its worker raised an exception, or a limit of [retries] is exceeded",
    ),
    ExitRule("user error", str(EXIT_USER), "failed", "its worker raised a UserError"),
    ExitRule("blocked", str(EXIT_BLOCKED), "blocked", "a parent is not done"),
    ExitRule(
        "stopped",
        str(EXIT_STOPPED),
        "stopped",
        "its progress is saved and it can go on",
        limit="total",
    ),
    ExitRule("busy", str(EXIT_BUSY), "running", "another process holds the run", limit="total"),
    ExitRule(
        "no container",
        str(EXIT_NO_CONTAINER),
        "failed",
        "its container did not start",
        limit="startup",
    ),
    ExitRule(
        "rendezvous",
        str(EXIT_RENDEZVOUS),
        "failed",
        "its processes did not connect to each other",
        limit="startup",
    ),
    ExitRule(
        "disk full",
        str(EXIT_DISK_FULL),
        "stopped",
        "no space was left for its files; it can go on when there is some",
    ),
    ExitRule(
        "asked to end",
        "130 | 143",
        "stopped",
        "it received SIGINT or SIGTERM, and their sender decides what follows",
    ),
    ExitRule("killed", "129 | 1[3-5]?", "lost", "it was ended by another signal", limit="startup"),
    ExitRule("other", "*", "failed", "its job ended by itself"),
)
"""Every exit code of a worker and of its job, the first match counts. The job's script and the
local queue are made from this table.
"""


def exit_rule(ending: int | str) -> ExitRule:
    """The rule of an exit code, or of a line `CODE WORDS` of the job's script.

    A negative code is the number of a signal, as in `subprocess`.
    """
    if isinstance(ending, int) and ending < 0:
        ending = 128 - ending
    text = str(ending)
    return next(rule for rule in EXIT_RULES if _matches(text, rule.pattern))


def describe_exit(code: int) -> str:
    """An exit code in words; a negative one, or one above 128, is a signal's where there is one."""
    number = -code if code < 0 else code - 128
    if not 0 < number < signal.NSIG:
        return f"exit code {code}"
    names = {int(known): known.name for known in signal.Signals}
    return f"killed by {names.get(number, f'signal {number}')}"


def _matches(text: str, pattern: str) -> bool:
    return any(fnmatchcase(text, part) for part in pattern.split(" | "))
