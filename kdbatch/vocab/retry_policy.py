"""How an attempt at a run ended, and how often that may happen: the one place that counts. The
worker asks it before each start.

A worker that is killed, or whose node dies, says nothing. So each start judges the attempt before
it: by the last status, by what the job's script saw, and by the accounting where the site has one.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field

from kdbatch.vocab.runs import Retries
from kdbatch.vocab.status import Cause, Status

EARLY_SECONDS = 75.0  # SLURM may send the signal before a time limit up to a minute too early
LATE_SECONDS = 5.0  # and SIGTERM at the limit itself
MAX_FRUITLESS = 2  # time limits in a row between which no step was done

CAUSE_TEXT: dict[Cause, str] = {
    "timeout": "met its time limit",
    "preemption": "was preempted",
    "node_failure": "lost its node",
    "crash": "was killed or crashed",
    "requeue": "was requeued by hand",
    "asked": "was asked to stop",
}
# What sacct says of a job that SLURM itself put back into the queue.
BY_STATE: dict[str, Cause] = {
    "PREEMPTED": "preemption",
    "NODE_FAIL": "node_failure",
    "BOOT_FAIL": "node_failure",
    "TIMEOUT": "timeout",
}
BY_HAND = ("REQUEUED", "CANCELLED")


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a worker is told of its start by the job's script; nothing in the local queue.

    `job` is its name, 41 or 41_3; `restart` counts the starts before this one. `ends_at` is its
    time limit in seconds since 1970, 0 for none; `signal_seconds` before that comes SIGUSR2.
    `exits` are the exit codes of those earlier starts whose script saw their end, by number;
    `last_state` is how the last one ended by the accounting.
    """

    job: str = ""
    restart: int = 0
    ends_at: float = 0.0
    signal_seconds: float = 0.0
    exits: Mapping[int, str] = field(default_factory=dict)
    last_state: str = ""

    def is_over(self, now: float) -> bool:
        """The limit is near and no signal came: the worker stops by itself."""
        return bool(self.ends_at) and now > self.ends_at - self.signal_seconds / 2


def start_of(env: Mapping[str, str]) -> Start:
    lines = (line.partition(" ") for line in env.get("KDBATCH_EXITS", "").split(";"))
    return Start(
        job=env.get("KDBATCH_JOB", ""),
        restart=int(_seconds(env.get("KDBATCH_RESTART", ""))),
        ends_at=_seconds(env.get("KDBATCH_ENDS_AT", "")),
        signal_seconds=_seconds(env.get("KDBATCH_SIGNAL_SECONDS", "")),
        exits={int(number): code for number, _, code in lines if number.isdigit()},
        last_state=env.get("KDBATCH_LAST_STATE", ""),
    )


def cause_of_stop(start: Start, *, at: float, early_warning: bool) -> Cause:
    """Why a worker was told to stop at the time `at`: by the signal that SLURM sends ahead
    (`early_warning`), or by SIGTERM.

    Whether SIGTERM meant preemption or a person's requeue only the next start can know.
    """
    if not start.job:
        return "asked"
    left = start.ends_at - at if start.ends_at else float("inf")
    if early_warning:
        return "timeout" if left < start.signal_seconds + EARLY_SECONDS else "preemption"
    return "timeout" if left < LATE_SECONDS else "asked"


def cause_of_end(earlier: Status, start: Start) -> Cause | None:
    """How the attempt ended that `earlier` is the last word of; None where there was none, or where
    it said so itself.

    The job may have been started since without a word: its container did not start, or another
    process held the run.
    """
    if earlier.state not in ("running", "stopped"):
        return None
    same_job = bool(start.job) and earlier.job == start.job
    state = start.last_state if same_job and earlier.restart == start.restart - 1 else ""
    if state in BY_STATE:
        return BY_STATE[state]
    if earlier.state == "stopped" and earlier.cause != "crash":
        if earlier.cause == "asked" and same_job:
            return "requeue" if state in BY_HAND else "preemption"
        return earlier.cause or "asked"
    # Nobody asked it to end: it was killed, or another process of its team was. A script that lived
    # to see the end had its nodes.
    if not same_job or earlier.restart in start.exits:
        return "crash"
    return "requeue" if state in BY_HAND else "node_failure"


def count_interruptions(earlier: Status, start: Start) -> tuple[dict[Cause, int], int]:
    """The attempts that ended so far, by cause, and how many time limits in a row were met without
    a step done.

    A run that had failed and is started again was tried again by a person: it begins to count anew.
    """
    if earlier.state == "failed":
        return {}, 0
    cause = cause_of_end(earlier, start)
    if cause is None:
        return dict(earlier.ended), earlier.fruitless
    ended: dict[Cause, int] = {**earlier.ended, cause: earlier.ended.get(cause, 0) + 1}
    if cause != "timeout":
        return ended, earlier.fruitless
    return ended, earlier.fruitless + 1 if earlier.step == earlier.first_step else 0


def refusal(ended: Mapping[Cause, int], fruitless: int, *, retries: Retries) -> str:
    """Why a run must not be started again; empty if it may."""
    again = "then: kdbatch submit FILE --retry-failed"
    if fruitless >= MAX_FRUITLESS:
        return f"no step was done between {fruitless} time limits: raise minutes under [resources] in kdbatch.toml, {again}"
    limits: dict[Cause, int] = {
        "timeout": retries.timeout,
        "preemption": retries.preemption,
        "node_failure": retries.node_failure,
        "crash": retries.crash,
        "requeue": retries.requeue,
    }
    for cause, limit in limits.items():
        if (times := ended.get(cause, 0)) > limit:
            return f"{CAUSE_TEXT[cause]} {times} times, and retries.{cause} in kdbatch.toml is {limit}; see its log, {again}"
    return ""


def was_killed(code: int) -> bool:
    """Ended by a signal: seen directly (-9), or through a shell or a container (137)."""
    return code < 0 or 128 < code < 128 + signal.NSIG


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if not was_killed(code):
        return f"exit code {code}"
    number = -code if code < 0 else code - 128
    known = {int(s) for s in signal.Signals}
    return (
        f"killed by {signal.Signals(number).name}"
        if number in known
        else f"killed by signal {number}"
    )


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
