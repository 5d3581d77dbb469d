"""The parameters of an array, from resources and site."""

from pathlib import Path
from typing import Any

from kdbatch.launch.container.image import image_file
from kdbatch.launch.slurm.job.job_options import job_flags
from kdbatch.launch.slurm.job.job_script import (
    has_steps,
    setup_lines,
    signal_delay_seconds,
    teardown_lines,
)
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources


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
