"""Plan -> SLURM: an array for each wave of runs, until a limit on jobs is met."""

import os
from collections.abc import Callable, Mapping, Sequence

from kdbatch.base.locks import hold_lock
from kdbatch.base.processes import is_own_user
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.run_folders import submissions_dir, without_finished, write_runs
from kdbatch.launch.slurm.arrays import Array, MetLimit, arrays_of, dependency
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.launch.slurm.next_request import avoid_lost_nodes, next_requests
from kdbatch.launch.slurm.sbatch.call import JobLimitError
from kdbatch.launch.slurm.sbatch.submit_targets import submit_targets
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.submissions import live_jobs, shared_jobs
from kdbatch.launch.slurm.target import Target
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.job_limit import note_job_limit
from kdbatch.vocab.jobs.pause import allow_pause, check_no_pause
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
