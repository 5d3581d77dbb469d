"""How an attempt at a run ended, and whether another may follow: the one place that counts.

A worker that is killed, or whose node is lost, cannot write how it ended. So each start judges the
attempt before it: by the last status, by what the job's script saw, and by the accounting where the
site has one. Where no worker starts, the job script and the local queue see only an exit code:
EXIT_RULES in exit_rules.py has their limits.
"""

from collections.abc import Mapping

from kdbatch.base.command_lines import resume_command
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.status import Cause, Status

EARLY_SECONDS = 75.0  # the warning signal may come up to a minute early; its tolerance
LATE_SECONDS = 5.0  # a SIGTERM with less time left than this counts as the time limit
MAX_FRUITLESS = 2  # time limits that were reached without a checkpoint since the one before

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
