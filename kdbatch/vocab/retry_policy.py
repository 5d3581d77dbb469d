"""How an attempt at a run ended, and how often it may be repeated: the one place that counts.

A worker that is killed, or whose node is lost, cannot write how it ended. So each start judges the
attempt before it: by the last status, by what the job's script saw, and by the accounting where the
site has one. Where no worker starts, the job script and the local queue see only an exit code:
EXIT_RULES has their limits.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Literal

from kdbatch.base.command_lines import resume_command
from kdbatch.base.reading.field_facts import Count, Time
from kdbatch.vocab.runs import Retries
from kdbatch.vocab.status import Cause, RunState, Status

EARLY_SECONDS = 75.0  # the warning signal may come up to a minute early; its tolerance
LATE_SECONDS = 5.0  # a SIGTERM with less time left than this counts as the time limit
MAX_FRUITLESS = 2  # time limits that were reached without a checkpoint since the one before

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

CAUSE_TEXT: dict[Cause, str] = {
    "timeout": "reached its time limit",
    "preemption": "was preempted",
    "node_failure": "lost its node",
    "memory": "ran out of memory",
    "crash": "was killed or crashed",
    "requeue": "was requeued by hand",
    "disk_full": "found no space for its files",
    "asked": "was asked to stop",
}
# States that sacct prints for a start after which SLURM itself put the job back into the queue.
CAUSE_BY_STATE: dict[str, Cause] = {
    "PREEMPTED": "preemption",
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "TIMEOUT": "timeout",
}
STATES_BY_HAND = ("REQUEUED", "CANCELLED")

EXIT = re.compile(r"(?:^|;)([0-9]{1,9}) ([^;]*)")  # the number of a start, and how it ended
START_VARIABLES = {
    "job": "KDBATCH_JOB",
    "restart": "KDBATCH_RESTART",
    "ends_at": "KDBATCH_ENDS_AT",
    "signal_seconds": "KDBATCH_SIGNAL_SECONDS",
    "exits": "KDBATCH_EXITS",
    "last_state": "KDBATCH_LAST_STATE",
    "image_sha256": "KDBATCH_IMAGE_SHA256",
    "parent_pid": "KDBATCH_PARENT_PID",
    "node": "SLURMD_NODENAME",
}
"""The environment variable of each field of a Start; job.sh exports the first six, and SLURM the
last.
"""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Facts about a worker's start that it is given in environment variables.

    By the job's script: `job` is its id, 41 or 41_3; `restart` counts the starts before this one.
    `ends_at` is its time limit in seconds since 1970, 0 for none; SIGUSR2 comes `signal_seconds`
    before that. `exits` are the exit codes of those earlier starts whose end the script saw, by
    number; `last_state` is the accounting's state of the last one.

    By the local queue: `parent_pid`, the process that the worker must not outlive. By both:
    `image_sha256`, the hash of the image that it runs in. By SLURM: `node`, its name.
    """

    job: str = ""
    restart: Count = 0
    ends_at: Time = 0.0
    signal_seconds: Time = 0.0
    exits: Mapping[Count, str] = field(default_factory=dict)
    last_state: str = ""
    image_sha256: str = ""
    parent_pid: Count = 0
    node: str = ""

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> "Start":
        """The start that `env` describes. A missing or malformed variable means the default."""
        text = {name: env.get(variable, "") for name, variable in START_VARIABLES.items()}
        return cls(
            job=text["job"],
            restart=int(_number(text["restart"])),
            ends_at=_number(text["ends_at"]),
            signal_seconds=_number(text["signal_seconds"]),
            exits={int(match[1]): match[2] for match in EXIT.finditer(text["exits"])},
            last_state=text["last_state"],
            image_sha256=text["image_sha256"],
            parent_pid=int(_number(text["parent_pid"])),
            node=text["node"],
        )

    def to_environment(self) -> dict[str, str]:
        """The variables of the fields that are not at their default."""
        texts = {item.name: str(getattr(self, item.name)) for item in fields(self)}
        texts["exits"] = "".join(f"{restart} {code};" for restart, code in self.exits.items())
        return {
            variable: texts[name]
            for name, variable in START_VARIABLES.items()
            if getattr(self, name)
        }

    def is_over(self, now: float) -> bool:
        """Whether half of the warning time has passed without the signal: the worker then stops."""
        return bool(self.ends_at) and now > self.ends_at - self.signal_seconds / 2


def cause_of_stop(start: Start, *, at: float, early_warning: bool) -> Cause:
    """Why a worker was asked to stop at the time `at`: by the signal that SLURM sends ahead
    (`early_warning`), or by SIGTERM.

    Only the next start can know whether SIGTERM meant preemption or a requeue by hand.
    """
    if not start.job:
        return "asked"
    seconds_left = start.ends_at - at if start.ends_at else float("inf")
    if early_warning:
        return "timeout" if seconds_left < start.signal_seconds + EARLY_SECONDS else "preemption"
    return "timeout" if seconds_left < LATE_SECONDS else "asked"


def cause_of_end(earlier: Status, start: Start, *, had_memory: bool = True) -> Cause | None:
    """How the attempt that wrote the status `earlier` ended; None where there was no attempt, or
    where the status itself is final. `had_memory` is whether its job's script saw no lack of it.

    The job may have started again since `earlier` was written, without writing a status (its
    container did not start, or the run was busy). So `last_state` counts only if `earlier` is of
    the start directly before this one.
    """
    if earlier.state not in ("running", "stopped"):
        return None
    if not had_memory:
        return "memory"
    same_job = bool(start.job) and earlier.job == start.job
    state = start.last_state if same_job and earlier.restart == start.restart - 1 else ""
    if state in CAUSE_BY_STATE:
        return CAUSE_BY_STATE[state]
    if earlier.state == "stopped" and earlier.cause != "crash":
        if earlier.cause == "asked" and same_job:
            return "requeue" if state in STATES_BY_HAND else "preemption"
        return earlier.cause or "asked"
    # It ended without being asked. If the job's script recorded its exit code, the node survived,
    # so this is a crash.
    if not same_job or earlier.restart in start.exits:
        return "crash"
    return "requeue" if state in STATES_BY_HAND else "node_failure"


def count_interruptions(
    earlier: Status, start: Start, *, had_memory: bool = True
) -> tuple[dict[Cause, int], int]:
    """The number of attempts that ended so far, by cause, and the number of time limits that were
    reached since the last checkpoint was written.

    A run that had failed was started again by a person: its counts begin at zero.
    """
    if earlier.state == "failed":
        return {}, 0
    cause = cause_of_end(earlier, start, had_memory=had_memory)
    if cause is None:
        return dict(earlier.ended), earlier.fruitless
    ended: dict[Cause, int] = {**earlier.ended, cause: earlier.ended.get(cause, 0) + 1}
    if earlier.saved_step != earlier.first_step:
        return ended, 0
    return ended, earlier.fruitless + (cause == "timeout")


def refusal(ended: Mapping[Cause, int], fruitless: int, *, retries: Retries) -> str:
    """Why a run must not be started again; empty if it may."""
    again = f"then: {resume_command(retry_failed=True)}"
    if fruitless >= MAX_FRUITLESS:
        return (
            f"no checkpoint was written between {fruitless} time limits: "
            f"raise minutes under [resources] in kdbatch.toml, {again}"
        )
    limits: dict[Cause, int] = {
        "timeout": retries.timeout,
        "preemption": retries.preemption,
        "node_failure": retries.node_failure,
        "crash": retries.crash,
        "requeue": retries.requeue,
    }
    for cause, limit in limits.items():
        if (times := ended.get(cause, 0)) > limit:
            return (
                f"{CAUSE_TEXT[cause]} {times} times, and retries.{cause} in kdbatch.toml is "
                f"{limit}; see its log, {again}"
            )
    return ""


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


def _number(text: str) -> float:
    """The number; 0 where there is none, or none that a job's script writes."""
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", text) else 0.0
