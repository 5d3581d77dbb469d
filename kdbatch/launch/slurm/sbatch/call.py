"""One call of sbatch: the files of the job, the call itself, and the number that the job has.

submitit writes the script and the pickles. sbatch is called here, as submitit takes the first
number after "job" in what is printed, which may be that of a greeting.
"""

import contextlib
import os
import re
import secrets
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import DelayedSubmission

from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.launch.machine import Answer, ask, has_command, without_slurm_variables
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.answers import number_of_name, shown_line, submitted_number
from kdbatch.launch.slurm.error_meanings import main_line, remedy
from kdbatch.launch.slurm.job.job_script import START_RUNS
from kdbatch.launch.slurm.target import PYTHON_FLAGS

LOADER = "kdbatch.launch.slurm.load_target"
SBATCH_SECONDS = 300.0  # sbatch itself waits two minutes for a controller that takes no job
NEEDED_COMMANDS = ("squeue", "scontrol", "scancel", "srun")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class JobLimitError(UserError):
    """sbatch has refused an array for a limit on the number of jobs, whose name is `limit`."""

    def __init__(self, line: str, *, limit: str) -> None:
        super().__init__(line)
        self.limit = limit


@dataclass(frozen=True, kw_only=True)
class JobFiles:
    """The script, and the pickle of each element, under names that do not have the job's number."""

    script: Path
    pickles: tuple[Path, ...]

    def rename(self, job_ids: Sequence[str]) -> None:
        """Give the files the names that the elements look for."""
        for path, job_id in zip(self.pickles, job_ids, strict=True):
            path.replace(path.with_name(f"{job_id}_submitted.pkl"))
        number = job_ids[0].partition("_")[0]
        self.script.replace(self.script.with_name(f"{number}_submission.sh"))


def check_commands() -> None:
    """Check that the commands are here without which a job would stay held, or be submitted twice.

    Raises:
        UserError: one is missing.
    """
    if missing := ", ".join(name for name in NEEDED_COMMANDS if not has_command(name)):
        raise UserError(
            f"sbatch is here, but not {missing}: nothing is submitted. Load the site's SLURM module"
        )


def write_job_files(
    targets: Sequence[Callable[[], None]], *, folder: Path, python: str, parameters: dict[str, Any]
) -> JobFiles:
    """Write the script and the pickles. `parameters` are those of submitit's SlurmExecutor; without
    srun, their setup has a function that is called with the command.

    Only the owner can write to the folder, from then on, and to the pickles.

    Raises:
        UserError: the file system does not keep others from writing.
    """
    close_to_others(folder)
    executor = submitit.SlurmExecutor(folder=folder, python=python)
    executor.update_parameters(**parameters)
    if len(targets) > 1:
        executor.parameters["map_count"] = len(targets)
    start = "" if parameters.get("use_srun", True) else f"{START_RUNS} "
    command = f"{start}{python} {' '.join(PYTHON_FLAGS)} {LOADER} {shell_word(folder)}"
    call = secrets.token_hex(8)
    script = folder / f".submission_file_{call}.sh"
    pickles = tuple(folder / f"{call}-{i}.pkl" for i in range(len(targets)))
    with _only_owner_writes():
        script.write_text(executor._make_submission_file_text(command, call), encoding="utf-8")
        for path, target in zip(pickles, targets, strict=True):
            delayed = DelayedSubmission(target)
            delayed.set_timeout(parameters["time"], executor.max_num_timeout)
            delayed.dump(path)
    return JobFiles(script=script, pickles=pickles)


def close_to_others(folder: Path) -> None:
    """Take from others the permission to write to the folder: its pickles are loaded on the nodes.

    Raises:
        UserError: it is somebody else's, or the file system has no permissions.
    """
    mode = folder.stat().st_mode
    with contextlib.suppress(PermissionError):
        if mode & _OTHERS_WRITE:
            folder.chmod(stat.S_IMODE(mode) & ~_OTHERS_WRITE)
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise UserError(
            f"{folder}: belongs to user {status.st_uid}, who could make your jobs load other files."
            f" Move it away: mv {shell_word(folder)} {shell_word(f'{folder}.old')}"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise UserError(
            f"{folder}: others can write to it (mode {stat.S_IMODE(status.st_mode):o}), and could "
            "make your jobs load other files. Name a folder that has permissions: [paths] runs"
        )


@contextlib.contextmanager
def _only_owner_writes() -> Iterator[None]:
    """New files are not writable by group and others inside, whatever the shell's umask allows."""
    before = os.umask(0o022)
    os.umask(before | 0o022)
    try:
        yield
    finally:
        os.umask(before)


def call_sbatch(script: Path, *options: str) -> Answer:
    """Call sbatch; one that gives no answer in time has failed with SLURM's own words for that.
    `options` come before those of the script.

    Raises:
        UserError: it cannot be started.
    """
    try:
        with without_slurm_variables():
            return ask(("sbatch", *options, str(script)), seconds=SBATCH_SECONDS)
    except subprocess.TimeoutExpired as error:
        late = f"sbatch: error: timed out after {SBATCH_SECONDS:g} s"
        return Answer(code=1, text=error.output, errors=late)
    except OSError as error:
        raise UserError(f"sbatch: {error.strerror}. Try it: sbatch --version") from error


def find_number(name: str, *, printed: str) -> str:
    """The number of the job that has this name, which no other job has; empty if it is not found.

    The queue is searched first. `printed` is sbatch's answer: its usual line counts where the queue
    does not answer or does not have the job yet, unless that number is another job's there.

    Raises:
        UserError: the job is not found, and squeue does not answer.
    """
    number = submitted_number(printed)
    try:
        queue = commands.queued_jobs(once=bool(number))
    except UserError:
        if number:
            return number
        raise
    if named := {job.number for job in queue if job.has_name(name)}:
        return number if number in named else min(named)
    if number and all(job.may_have_name(name) for job in queue if job.number == number):
        return number
    return _number_in_accounting(name)


def await_number(name: str, *, printed: str) -> str:
    """The number as of find_number(), which is called again for a job that is not listed yet."""
    for pause in (*commands.PAUSES, None):
        number = find_number(name, printed=printed)
        if number or pause is None:
            return number
        time.sleep(pause)
    raise AssertionError("the last try returns")


def refusal_of(answer: Answer) -> str:
    """The line with which sbatch refuses the job; empty if it does not complain. A wrapper may lose
    its exit code.
    """
    line = main_line(answer.complaint if answer.code else answer.errors)
    return line if answer.code or re.search(r"\b(error|fatal):", line, re.I) else ""


def refusal_line(answer: Answer, *, what: str) -> str:
    """The message about a refused job: SLURM's words, and what would do."""
    reason = refusal_of(answer) or f"exit code {answer.code}, and {shown_line(answer.text)}"
    hint = remedy(f"{answer.errors}\n{answer.text}")
    return f"sbatch refused {what}: {reason}. {hint}"


def not_found_line(name: str, *, printed: str) -> str:
    """The end of the message about a job that sbatch may have taken, and that is not found."""
    return (
        f"sbatch printed {shown_line(printed)}, and no job {name} is in the queue. If SLURM has "
        f"taken it, it is held and never starts; end it: scancel --name={name}"
    )


def _number_in_accounting(name: str) -> str:
    """The number of a job that only the accounting has, where the site keeps one."""
    listing = commands.output_or_nothing(
        "sacct",
        f"--name={name}",
        "--allocations",
        "--noheader",
        "--parsable2",
        "--starttime=now-1hours",
        "--format=JobID,JobName",
    )
    return number_of_name(listing, name)
