"""Plan -> SLURM: one sbatch per Array, held until everything about it is noted."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.base.processes import is_own_user
from kdbatch.launch.container.command import as_shell_line, python_command
from kdbatch.launch.container.image import image_file
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.machine import Answer
from kdbatch.launch.run_folders import submissions_dir, without_finished, write_runs
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.answers import submitted_number
from kdbatch.launch.slurm.arrays import Array, MetLimit, arrays_of, dependency
from kdbatch.launch.slurm.error_meanings import is_transient, limit_on_jobs
from kdbatch.launch.slurm.job.job_options import check_options, job_flags
from kdbatch.launch.slurm.job.job_script import (
    check_submit_folder,
    has_steps,
    setup_lines,
    signal_delay_seconds,
    teardown_lines,
)
from kdbatch.launch.slurm.next_request import avoid_lost_nodes, next_requests
from kdbatch.launch.slurm.sbatch import (
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
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.squeue.shared_answers import forget_queue
from kdbatch.launch.slurm.submissions import (
    Sbatch,
    cancel_lost,
    discard,
    job_name,
    live_jobs,
    release,
    save_sbatch,
    shared_jobs,
)
from kdbatch.launch.slurm.target import Target, packed_targets
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.job_limit import note_job_limit
from kdbatch.vocab.jobs.pause import allow_pause, check_no_pause
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan


def whole_plan(plan: Plan) -> Plan:
    """The plan itself: nothing is left out."""
    return plan


def ignore_jobs(jobs: Mapping[str, str]) -> None:
    """The caller waits for all arrays."""


def ignore_limit(limit: MetLimit) -> None:
    """The caller finds out what was submitted."""


def submit_arrays(
    plan: Plan,
    *,
    config: Config,
    select: Callable[[Plan], Plan] = whole_plan,
    on_submitted: Callable[[Mapping[str, str]], None] = ignore_jobs,
    on_limit: Callable[[MetLimit], None] = ignore_limit,
) -> dict[str, str]:
    """Submit what is neither done nor in the queue already. Returns the job id of each run that was
    submitted; `on_submitted` gets those of each array when SLURM has it.

    A submit in a second shell waits here for the first, then finds everything submitted. `select`
    reduces what is submitted, while no other process submits. squeue is called before any file is
    read: a run that ends in between is seen in the one or in the other.

    Where a limit on the number of jobs is met, what fits is submitted, and the rest stays planned.

    Raises:
        UserError: sbatch refuses an array; arrays before it stay submitted and in the journal. Or
            the study pauses, as its disk was full.
    """
    prepare_container(config, on_this_machine=False)
    check_submit_folder(submissions_dir(config.runs_dir))
    with hold_lock(config.runs_dir / "submit.lock"):
        journal_dir = submissions_dir(config.runs_dir)
        check_no_pause(config.runs_dir)
        queue = recover(journal_dir)
        live = live_jobs(journal_dir, [p.run.id for p in plan.runs], queue=queue)
        selected = without_finished(select(plan), runs_dir=config.runs_dir)
        write_runs(plan, config=config)  # what is left out is a part of the study, too
        allow_pause(config.runs_dir)
        jobs = dict(live)
        requests = next_requests(selected, config=config, live=live, writes=True)
        avoid_lost_nodes(queue, live, config=config)
        arrays = arrays_of(selected, config=config, live=live, requests=requests)
        limit = _submit_until_limit(arrays, config=config, jobs=jobs, on_submitted=on_submitted)
        if limit:
            left = (i for wave in selected.waves for i in wave.run_ids if i not in jobs)
            on_limit(MetLimit(name=limit, run_ids=tuple(left)))
        return {run_id: job_id for run_id, job_id in jobs.items() if run_id not in live}


def sbatch_parameters(
    name: str, *, resources: Resources, config: Config, folder: Path, after: str
) -> dict[str, Any]:
    """The parameters of an array, by the names of submitit's SlurmExecutor; None is left out."""
    site, num_runs, steps = config.site, resources.runs_per_job, has_steps(resources, config.site)
    memory = "0" if site.exclusive else f"{num_runs * resources.memory_gb}GB"  # 0: the node's
    # Where no steps are, the runs of a job have one process that starts them.
    num_tasks, num_cpus = (num_runs, 1) if steps else (1, num_runs)
    return {
        "job_name": name,
        "time": resources.minutes,  # a whole number, with which submitit calculates
        "nodes": resources.nodes,
        "ntasks_per_node": num_tasks * resources.tasks_per_node,
        "cpus_per_task": num_cpus * resources.cpus_per_task,
        "mem": memory if resources.memory_gb else None,
        "wckey": None,  # submitit has a default, and some sites refuse keys that they do not know
        "dependency": after or None,
        "array_parallelism": site.max_concurrent,
        "signal_delay_s": signal_delay_seconds(resources),
        "setup": setup_lines(
            resources, site=site, folder=folder, image=image_file(config), retries=config.retries
        ),
        "use_srun": not steps,
        # Since SLURM 22.05 a step does not inherit the first. With the second, all processes end
        # when one does, and the script goes on.
        "srun_args": [
            f"--cpus-per-task={num_cpus * resources.cpus_per_task}",
            "--kill-on-bad-exit=1",
        ],
        "teardown": teardown_lines(config.retries, steps=steps),
        "additional_parameters": {
            "hold": True,
            "kill-on-invalid-dep": "yes",
            "requeue": True,
            **job_flags(resources, site=site),
        },
    }


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


def _submit_until_limit(
    arrays: Sequence[Array],
    *,
    config: Config,
    jobs: dict[str, str],
    on_submitted: Callable[[Mapping[str, str]], None],
) -> str:
    """Submit the arrays and return the limit that left a part of them, which `status` names: it is
    mostly of the user, and what follows may wait for runs of that part. Empty where none did.
    """
    limit = ""
    try:
        for array in arrays:
            limit = _submit_what_fits(array, config=config, jobs=jobs, on_submitted=on_submitted)
            if limit:
                break
    except JobLimitError as error:
        limit = error.limit
        raise
    finally:
        note_job_limit(config.runs_dir, limit)
    return limit


def _submit_what_fits(
    array: Array,
    *,
    config: Config,
    jobs: dict[str, str],
    on_submitted: Callable[[Mapping[str, str]], None],
) -> str:
    """Submit the array, in halves where a limit refuses it whole, and add its jobs to `jobs`.
    Returns the limit that lets no more pass; empty where all was submitted.

    Raises:
        UserError: as of submit_targets(); also where a limit lets no job pass at all.
    """
    first, num_elements = 0, len(array.run_ids) // array.resources.runs_per_job
    size = num_elements
    while first < num_elements:
        try:
            submitted = _submit_array(array.part(first, size), config=config, jobs=jobs)
        except JobLimitError as error:
            if size > 1 and error.limit != "MaxJobCount":
                size //= 2
            elif jobs:
                return error.limit
            else:
                raise
        else:
            on_submitted(submitted)
            jobs |= submitted
            first += size
    return ""


def _submit_array(array: Array, *, config: Config, jobs: dict[str, str]) -> dict[str, str]:
    """Submit one array. Its folder has no job id in its name, so that it exists before the first
    job can start; the one of another user, who had these runs before, stays as it is.
    """
    runs_dir = config.runs_dir.resolve()
    folder = submissions_dir(config.runs_dir) / array.name
    if folder.exists() and not is_own_user(folder.stat().st_uid):
        folder = folder.with_name(f"{folder.name}-{os.getuid()}")
    return submit_targets(
        {run_id: Target(str(runs_dir / run_id)) for run_id in array.run_ids},
        wave=array.wave,
        resources=array.resources,
        folder=folder,
        config=config,
        binds=(config.runs_dir, config.shards_dir),
        after=dependency(array, jobs, shared=shared_jobs(submissions_dir(config.runs_dir))),
        has_more_memory=array.has_more_memory,
    )
