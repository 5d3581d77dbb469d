"""SLURM's own commands: run one, list the queue; called again while the controller is busy."""

import os
import re
import subprocess
import time
from collections.abc import Collection, Sequence

from kdbatch.base.command_lines import shell_line
from kdbatch.base.errors import UserError
from kdbatch.launch.machine import Answer, ask, has_command, without_slurm_variables
from kdbatch.launch.slurm.answers import QueuedJob, read_queue
from kdbatch.launch.slurm.error_meanings import BUSY, is_transient, main_line

PAUSES = (2.0, 8.0, 30.0)
"""Seconds before each new try: in total less than a person waits, and more than a controller's
restart takes.
"""

ONCE_SECONDS = 20.0  # for an answer, where there is something to show without one


def queued_jobs(*, once: bool = False, others: Collection[int] = ()) -> tuple[QueuedJob, ...]:
    """The user's jobs, one per array element; with pending ones and those of hidden partitions.

    `others` are the ids of users whose jobs are listed as well, if the site shows them.
    `once` is for a caller that has something to show without an answer.

    Raises:
        UserError: squeue is missing, does not answer, or answers with words that are no jobs.
            Without it a run could be submitted twice.
    """
    if not has_command("squeue"):
        raise UserError(
            "squeue is not on PATH: without it a run could be submitted twice. Load the site's "
            "SLURM module, or go to a login node"
        )
    users, columns = "--me", "%i|%j|%T|%r"
    if others:
        users = f"--user={','.join(map(str, sorted({os.getuid(), *others})))}"
        columns = f"{columns}|uid=%U"
    answer = _call(
        ("squeue", users, "--all", "--array", "--noheader", f"--format={columns}"), once=once
    )
    return read_queue(answer.errors if _hides_failure(answer) else answer.text)


def run_command(
    *command: str, stdin: str = "", once: bool = False, seconds: float | None = None
) -> str:
    """Run a command of SLURM and return what it prints. `stdin` is its standard input.

    It is called again while the controller is busy; not with `once`. It has `seconds` to answer.

    Raises:
        UserError: it is missing or fails, or gives no answer in any of the tries.
    """
    answer = _call(command, stdin=stdin, once=once, seconds=seconds)
    # scancel complains of jobs that have ended, and has cancelled the others.
    if command[0] == "scontrol" and _hides_failure(answer):
        line = shell_line(*command, *stdin.splitlines()[:1])
        raise UserError(f"{command[0]}: {main_line(answer.errors)}. Try it: {line}")
    return answer.text


def _hides_failure(answer: Answer) -> bool:
    """Whether only the errors tell that it has failed: a wrapper may lose its exit code."""
    return (
        not answer.text.strip() and re.search(r"\b(error|fatal):", answer.errors, re.I) is not None
    )


def _call(
    command: Sequence[str], *, stdin: str = "", once: bool = False, seconds: float | None = None
) -> Answer:
    # A controller that limits its clients' rate lets two requests a second pass.
    seconds = seconds or (ONCE_SECONDS if once else 120 + stdin.count("\n"))
    for pause in (*(() if once else PAUSES), None):
        try:
            with without_slurm_variables():
                answer = ask(command, stdin=stdin, seconds=seconds)
        except subprocess.TimeoutExpired:
            problem, again = f"no answer within {seconds:g} s", True
        except OSError as error:
            problem, again = error.strerror or "cannot be started", False
        else:
            again = is_transient(answer.complaint)
            if answer.code == 0 and (answer.text.strip() or not again):
                return answer
            problem = main_line(answer.complaint) or f"failed with exit code {answer.code}"
        if pause is None or not again:
            line = shell_line(*command, *stdin.splitlines()[:1])
            hint = BUSY if again else f"Try it: {line}"
            raise UserError(f"{command[0]}: {problem}. {hint}")
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def output_or_nothing(*command: str, seconds: float = 30.0) -> str:
    """The output of a command; empty where it is missing, fails or hangs. For questions that may
    go unanswered.
    """
    try:
        return run_command(*command, once=True, seconds=seconds)
    except UserError:
        return ""
