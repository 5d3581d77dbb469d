"""Targets -> one array, held until everything about it is noted."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.launch.container.command import as_shell_line, python_command
from kdbatch.launch.machine import Answer
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.answers import submitted_number
from kdbatch.launch.slurm.error_meanings import is_transient, limit_on_jobs
from kdbatch.launch.slurm.job.job_options import check_options
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.launch.slurm.sbatch.call import (
    JobFiles,
    JobLimitError,
    await_number,
    call_sbatch,
    check_commands,
    find_number,
    not_found_line,
    refusal_line,
    refusal_of,
    write_job_files,
)
from kdbatch.launch.slurm.sbatch.parameters import sbatch_parameters
from kdbatch.launch.slurm.squeue.shared_answers import forget_queue
from kdbatch.launch.slurm.submissions import (
    Sbatch,
    cancel_lost,
    discard,
    job_name,
    release,
    save_sbatch,
)
from kdbatch.launch.slurm.target import packed_targets
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources


def submit_targets(
    targets: Mapping[str, Callable[[], None]],
    *,
    wave: str,
    resources: Resources,
    folder: Path,
    config: Config,
    binds: Sequence[Path],
    after: str | tuple[str, ...] = "",
    has_more_memory: bool = False,
) -> dict[str, str]:
    """Submit an array of `targets` with one sbatch; returns the job id of each by its key. Those of
    runs that share a job are Targets.

    `folder` takes SLURM's logs and submitit's files. `after` is the dependency of all elements, or
    has one for each. `binds` are the folders that the targets need inside an image, `folder` among
    or below them.

    The array is submitted held. It is released when its files have the names that its elements look
    for, the journal next to `folder` has their ids, and SLURM has the dependency of each.

    Raises:
        UserError: sbatch refuses, SLURM does not answer, one of its commands is missing, or the
            folder's name is a pattern.
    """
    check_commands()
    check_options(config)
    check_submit_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    python = as_shell_line(python_command(config, folders=binds))
    after_all, after_each = (after, ()) if isinstance(after, str) else ("", after)

    def write(name: str) -> JobFiles:
        parameters = sbatch_parameters(
            name, resources=resources, config=config, folder=folder, after=after_all
        )
        elements = packed_targets(list(targets.values()), resources.runs_per_job, folder=folder)
        return write_job_files(
            elements, folder=folder.resolve(), python=python, parameters=parameters
        )

    sbatch = Sbatch(
        name="",
        keys=tuple(targets),
        after=after_each,
        asked_at=time.time(),
        memory_gb=resources.memory_gb,
        max_memory_gb=resources.max_memory_gb,
        has_more_memory=has_more_memory,
        runs_per_job=resources.runs_per_job,
        uid=os.getuid(),
    )
    sbatch = _call_with_retries(write, sbatch, folder=folder, wave=wave)
    places = release(folder, sbatch).places
    forget_queue(folder.parent)
    return {key: job_id for key, job_id, _ in places}


def _call_with_retries(
    write: Callable[[str], JobFiles], sbatch: Sbatch, *, folder: Path, wave: str
) -> Sbatch:
    """Submit what `write` writes for a job's name; again while the controller is busy. The journal
    gets the entry `sbatch` with that name before each try, and the number of the last.
    """
    journal_dir = folder.parent
    for pause in (*commands.PAUSES, None):
        name = job_name(wave, journal_dir=journal_dir)
        sbatch = replace(sbatch, name=name, asked_at=time.time())
        save_sbatch(folder, sbatch)
        files = write(name)
        answer = call_sbatch(files.script)
        if number := _number_of_accepted(answer, sbatch, folder=folder):
            sbatch = replace(sbatch, number=number)
            for mark in folder.glob("*over"):  # of a cluster set up before this one
                if mark.name.startswith((f"{number}.", f"{number}_")):
                    mark.unlink()
            files.rename(sbatch.job_ids)
            save_sbatch(folder, sbatch)
            return sbatch
        _forget(folder, answer)
        if pause is None or not is_transient(answer.complaint):
            line = refusal_line(answer, what=folder.name)
            limit = limit_on_jobs(answer.complaint)
            raise JobLimitError(line, limit=limit) if limit else UserError(line)
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _number_of_accepted(answer: Answer, sbatch: Sbatch, *, folder: Path) -> str:
    """The number of the job; empty if SLURM has refused it.

    Raises:
        UserError: the job may be in the queue, and is not found. Its entry stays in the journal, so
            that the next submit cancels the job or knows that there is none.
    """
    if answer.code and not submitted_number(answer.text):
        return ""
    try:
        number = find_number(sbatch.name, printed=answer.text)
        if not number and refusal_of(answer):
            return ""
        number = number or await_number(sbatch.name, printed=answer.text)
    except UserError as error:
        raise UserError(f"{folder.name}: its job has no known number yet. {error}") from error
    if not number:
        commands.output_or_nothing("scancel", f"--name={sbatch.name}")
        raise UserError(f"{folder.name}: {not_found_line(sbatch.name, printed=answer.text)}")
    return number


def _forget(folder: Path, answer: Answer) -> None:
    """Remove the entry of a job that sbatch has refused. It may be in the queue all the same: the
    connection can break after the controller has taken it.

    Raises:
        UserError: squeue does not answer. The entry stays, and the next submit looks again.
    """
    try:
        queue = commands.queued_jobs()
    except UserError as error:
        raise UserError(f"{refusal_line(answer, what=folder.name)}. Then {error}") from error
    cancel_lost(folder.parent, queue)
    discard(folder)
