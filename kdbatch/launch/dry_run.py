"""What `submit` would do, in plain lines. Reads the run folders and squeue; writes nothing, starts
nothing.
"""

from collections.abc import Iterator

from kdbatch.launch.container.command import check_container
from kdbatch.launch.machine import QueueKind
from kdbatch.launch.run_folders import submissions_dir, without_finished
from kdbatch.launch.slurm.arrays import Array, arrays_of
from kdbatch.launch.slurm.submissions import live_jobs
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import Resources


def describe_launch(plan: Plan, *, config: Config, queue: QueueKind) -> list[str]:
    """One line per sbatch, or per run of the local queue, and one for what is left out.

    Raises:
        UserError: the image is not there, or squeue does not answer.
    """
    check_container(config, on_this_machine=queue == "local")
    live = (
        live_jobs(submissions_dir(config.runs_dir), [p.run.id for p in plan.runs])
        if queue == "slurm"
        else {}
    )
    plan = without_finished(plan, runs_dir=config.runs_dir)
    num_done = sum(p.done for p in plan.runs)
    lines = list(
        _slurm_lines(plan, config=config, live=live) if queue == "slurm" else _local_lines(plan)
    )
    skipped = [f"{num_done} done"] * (num_done > 0) + [f"{len(live)} in the queue"] * (
        len(live) > 0
    )
    if skipped:
        lines.append(f"left out: {', '.join(skipped)}")
    return lines or ["nothing to do: the plan has no runs"]


def describe_resources(resources: Resources) -> str:
    hours, minutes = divmod(resources.minutes, 60)
    nodes = f"{resources.nodes} nodes of " if resources.nodes > 1 else ""
    return f"{nodes}{resources.gpus} GPU, {resources.cpus} CPU, {resources.memory_gb} GB, {hours}:{minutes:02d} h"


def _slurm_lines(plan: Plan, *, config: Config, live: dict[str, str]) -> Iterator[str]:
    arrays = arrays_of(plan, config=config, live=live)
    home = {run_id: array.name for array in arrays for run_id in array.run_ids} | live
    for array in arrays:
        size = f"array of {len(array.run_ids)}" if len(array.run_ids) > 1 else "1 job"
        yield f"sbatch {array.name}: {size}, each {describe_resources(array.resources)}{_waiting(array, home)}"


def _waiting(array: Array, home: dict[str, str]) -> str:
    places = ", ".join(
        dict.fromkeys(
            home[parent].partition("_")[0] for parents in array.after for parent in parents
        )
    )
    if not places:
        return ""
    return (
        f"; after {len(array.after[0])} in {places}"
        if len(set(array.after)) == 1
        else f"; each after its own in {places}"
    )


def _local_lines(plan: Plan) -> Iterator[str]:
    for planned in plan.runs:
        if not planned.done:
            after = f"; after {', '.join(planned.run.parents)}" if planned.run.parents else ""
            yield f"run {planned.run.id}: {planned.title}, about {planned.cost_hours:.2f} h{after}"
