"""Plan -> SLURM: one sbatch per Array, through submitit."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import submitit

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.launch.container.command import as_shell_line, check_container, python_command
from kdbatch.launch.container.image import image_file
from kdbatch.launch.machine import without_slurm_variables
from kdbatch.launch.run_folders import submissions_dir, without_finished, write_runs
from kdbatch.launch.slurm import commands
from kdbatch.launch.slurm.arrays import Array, arrays_of, dependency
from kdbatch.launch.slurm.job_script import setup_lines, signal_delay_seconds, teardown_lines
from kdbatch.launch.slurm.submissions import (
    Sbatch,
    cancel_held,
    discard,
    job_name,
    live_jobs,
    load_sbatches,
    recover,
    release,
    save_sbatch,
)
from kdbatch.launch.slurm.target import Target
from kdbatch.vocab.config import Config, Site
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import Resources


def whole_plan(plan: Plan) -> Plan:
    """The plan itself: nothing is left out."""
    return plan


def submit_arrays(
    plan: Plan, *, config: Config, select: Callable[[Plan], Plan] = whole_plan
) -> dict[str, str]:
    """Submit what is neither done nor in the queue already. Returns the job id of each run that was
    submitted.

    A submit in a second shell waits here for the first, then finds everything submitted. `select`
    reduces what is submitted, while no other process submits. squeue is called before any file is
    read: a run that ends in between is seen in the one or in the other.

    Raises:
        UserError: sbatch refuses an array; arrays before it stay submitted and in the journal.
    """
    check_container(config, on_this_machine=False)
    with hold_lock(config.runs_dir / "submit.lock"):
        journal_dir = submissions_dir(config.runs_dir)
        recover(journal_dir)
        live = live_jobs(journal_dir, [p.run.id for p in plan.runs])
        selected = without_finished(select(plan), runs_dir=config.runs_dir)
        write_runs(plan, config=config)  # what is left out is a part of the study, too
        jobs = dict(live)
        for array in arrays_of(selected, config=config, live=live):
            jobs |= _submit_array(array, config=config, jobs=jobs)
        return {run_id: job_id for run_id, job_id in jobs.items() if run_id not in live}


def sbatch_parameters(
    name: str, *, resources: Resources, config: Config, folder: Path, after: str
) -> dict[str, Any]:
    """The parameters of an array, by the names of submitit's SlurmExecutor; None is left out."""
    site = config.site
    return {
        "job_name": name,
        "time": resources.minutes,  # a whole number, with which submitit calculates
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "mem": f"{resources.memory_gb}GB" if resources.memory_gb else None,
        "partition": site.partition or None,
        "account": site.account or None,
        "qos": site.qos or None,
        "constraint": site.constraint or None,
        "wckey": None,  # submitit has a default, and some sites refuse keys that they do not know
        "dependency": after or None,
        "array_parallelism": site.max_concurrent,
        "signal_delay_s": signal_delay_seconds(resources),
        "setup": setup_lines(resources, site=site, folder=folder, image=image_file(config)),
        # Since SLURM 22.05 a step does not inherit the first. With the second, all processes end
        # when one does, and the script goes on.
        "srun_args": [f"--cpus-per-task={resources.cpus_per_task}", "--kill-on-bad-exit=1"],
        "teardown": teardown_lines(config.retries),
        "additional_parameters": {
            "hold": True,
            "kill-on-invalid-dep": "yes",
            "requeue": True,
            **gpu_flag(resources, site=site),
        },
    }


def gpu_flag(resources: Resources, *, site: Site) -> dict[str, str]:
    """`--gres=gpu:TYPE:N` or `--gpus-per-node=TYPE:N`, as the site wants it; nothing for a run
    without a GPU.
    """
    if not resources.gpus:
        return {}
    count = f"{site.gpu_type}:{resources.gpus}" if site.gpu_type else str(resources.gpus)
    return {"gres": f"gpu:{count}"} if site.gpu_flag == "gres" else {"gpus-per-node": count}


def submit_targets(
    targets: Mapping[str, Callable[[], None]],
    *,
    wave: str,
    resources: Resources,
    folder: Path,
    config: Config,
    binds: Sequence[Path],
    after: str | tuple[str, ...] = "",
) -> dict[str, str]:
    """Submit an array of `targets` with one sbatch; returns the job id of each by its key.

    `folder` takes SLURM's logs and submitit's files. `after` is the dependency of all elements, or
    has one for each. `binds` are the folders that the targets need inside an image, `folder` among
    or below them.

    The array is submitted held. It is released when its files have the names that its elements look
    for, the journal next to `folder` has their ids, and SLURM has the dependency of each.

    Raises:
        UserError: sbatch refuses, or SLURM does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = as_shell_line(python_command(config, folders=binds))
    after_all, after_each = (after, ()) if isinstance(after, str) else ("", after)

    def call(name: str) -> str:
        parameters = sbatch_parameters(
            name, resources=resources, config=config, folder=folder, after=after_all
        )
        elements = list(targets.values())
        return _call_sbatch(elements, folder=folder, python=python, parameters=parameters)

    sbatch = _call_with_retries(
        call, folder=folder, wave=wave, keys=tuple(targets), after=after_each
    )
    return dict(zip(sbatch.keys, release(folder, sbatch).job_ids, strict=True))


def _call_with_retries(
    call: Callable[[str], str],
    *,
    folder: Path,
    wave: str,
    keys: tuple[str, ...],
    after: tuple[str, ...],
) -> Sbatch:
    """Submit with `call`, which takes the job's name and returns its number; again while the
    controller is busy. The journal gets an entry before each try, and the number of the last.
    """
    journal_dir = folder.parent
    for pause in (*commands.PAUSES, None):
        name = job_name(wave, journal_dir=journal_dir)
        sbatch = Sbatch(name=name, keys=keys, after=after, asked_at=time.time())
        save_sbatch(folder, sbatch)
        try:
            sbatch = replace(sbatch, number=call(name))
        except RuntimeError as error:
            again = commands.is_transient(str(error))
            if again:  # the controller may have taken the job, although sbatch failed
                known = {entry.number for entry in load_sbatches(journal_dir).values()}
                cancel_held(journal_dir, commands.queued_jobs(), known=known)
            discard(folder)
            if pause is None or not again:
                raise UserError(
                    f"sbatch refused {folder.name}: {_last_line(error)}. "
                    "Check [site] in kdbatch.toml against: sinfo"
                ) from error
            time.sleep(pause)
            continue
        save_sbatch(folder, sbatch)
        return sbatch
    raise AssertionError("the last try returns or raises")


def _call_sbatch(
    targets: Sequence[Callable[[], None]], *, folder: Path, python: str, parameters: dict[str, Any]
) -> str:
    """Submit with submitit and return the job's number. submitit's own log lines are switched off,
    as our callers print the job ids.

    Raises:
        RuntimeError: sbatch fails.
    """
    logging.getLogger("submitit").setLevel(logging.ERROR)
    with without_slurm_variables():
        executor = submitit.SlurmExecutor(folder=folder.resolve(), python=python)
        executor.update_parameters(**parameters)
        submitted: list[submitit.Job[None]] = []
        with executor.batch():
            for target in targets:
                submitted.append(executor.submit(target))
    return submitted[0].job_id.partition("_")[0]


def _submit_array(array: Array, *, config: Config, jobs: dict[str, str]) -> dict[str, str]:
    """Submit one array. Its folder has no job id in its name, so that it exists before the first
    job can start.
    """
    folders = {run_id: (config.runs_dir / run_id).resolve() for run_id in array.run_ids}
    return submit_targets(
        {run_id: Target(str(folder)) for run_id, folder in folders.items()},
        wave=array.wave,
        resources=array.resources,
        folder=submissions_dir(config.runs_dir) / array.name,
        config=config,
        binds=(config.runs_dir, config.shards_dir),
        after=dependency(array, jobs),
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "error:" in line.lower()),
        lines[-1] if lines else type(error).__name__,
    )
