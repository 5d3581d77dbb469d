"""Describes in lines what `submit` would do; nothing is written or started."""

from collections.abc import Iterator

from kdbatch.base.text import duration
from kdbatch.launch.container.command import check_container
from kdbatch.launch.machine import QueueKind
from kdbatch.launch.run_folders import submissions_dir, without_finished
from kdbatch.launch.slurm.arrays import Array, arrays_of
from kdbatch.launch.slurm.next_request import next_requests
from kdbatch.launch.slurm.squeue.recovery import study_queue
from kdbatch.launch.slurm.submissions import live_jobs
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan


def describe_launch(plan: Plan, *, config: Config, queue: QueueKind) -> list[str]:
    """One line per sbatch, or per run of the local queue, and one for what is left out.

    Raises:
        UserError: the image is missing, or squeue does not answer.
    """
    check_container(config, on_this_machine=queue == "local")
    live: dict[str, str] = {}
    if queue == "slurm":
        journal_dir = submissions_dir(config.runs_dir)
        live = live_jobs(journal_dir, [p.run.id for p in plan.runs], queue=study_queue(journal_dir))
    plan = without_finished(plan, runs_dir=config.runs_dir)
    if queue == "slurm":
        lines = list(_slurm_lines(plan, config=config, live=live))
    else:
        lines = list(_local_lines(plan))
    counts = {"done": sum(p.done for p in plan.runs), "in the queue": len(live)}
    left_out = [f"{num} {where}" for where, num in counts.items() if num]
    if left_out:
        lines.append(f"left out: {', '.join(left_out)}")
    return lines or ["nothing to do: the plan has no runs"]


def describe_resources(resources: Resources) -> str:
    """The resources that a run requests, in words: 1 GPU, 8 CPU, 64 GB, 24:00 h."""
    hours, minutes = divmod(resources.minutes, 60)
    nodes = f"{resources.nodes} nodes of " if resources.nodes > 1 else ""
    per_node = f"{resources.gpus} GPU, {resources.cpus} CPU, {resources.memory_gb} GB"
    return f"{nodes}{per_node}, {hours}:{minutes:02d} h"


def _slurm_lines(plan: Plan, *, config: Config, live: dict[str, str]) -> Iterator[str]:
    requests = next_requests(plan, config=config, live=live)
    arrays = arrays_of(plan, config=config, live=live, requests=requests)
    array_of = {run_id: array.name for array in arrays for run_id in array.run_ids}
    array_of |= {run_id: job_id.partition("_")[0] for run_id, job_id in live.items()}
    for array in arrays:
        packed = array.resources.runs_per_job
        num_jobs = len(array.run_ids) // packed
        size = f"array of {num_jobs}" if num_jobs > 1 else "1 job"
        runs = f"{packed} runs of " if packed > 1 else ""
        resources = f"{runs}{describe_resources(array.resources)}"
        yield f"sbatch {array.name}: {size}, each {resources}{_dependencies(array, array_of)}"


def _dependencies(array: Array, array_of: dict[str, str]) -> str:
    """The arrays that this one waits for; `array_of` has the array or job of each run."""
    names = {array_of[parent]: None for parents in array.after for parent in parents}
    if not names:
        return ""
    arrays = ", ".join(names)
    if len(set(array.after)) == 1:
        return f"; after {len(array.after[0])} in {arrays}"
    return f"; each after its own in {arrays}"


def _local_lines(plan: Plan) -> Iterator[str]:
    for planned in plan.runs:
        if not planned.done:
            after = f"; after {', '.join(planned.run.parents)}" if planned.run.parents else ""
            takes = duration(3600 * planned.hours)
            yield f"run {planned.run.id}: {planned.title}, about {takes}{after}"
