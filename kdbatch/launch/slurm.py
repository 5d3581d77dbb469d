"""Plan -> SLURM: one sbatch per Array, through submitit. The one function with an effect is `submit_arrays`."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import submitit

from kdbatch.launch.arrays import Array, arrays_of, dependency
from kdbatch.launch.container import as_shell, check_container, python_words
from kdbatch.launch.folders import refreshed, write_runs
from kdbatch.launch.journal import Submission, live_jobs, save_submission
from kdbatch.launch.locks import holding
from kdbatch.launch.site import no_slurm_variables
from kdbatch.launch.target import Target
from kdbatch.vocab.config import Config, Site
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import Resources
from kdbatch.vocab.status import EXIT_STOPPED

MAX_REQUEUES = 20

# Where the processes of one run meet. The host says so: an image has no scontrol. sed reads to the end, as head would break the pipe;
# the port is one for the job, below those that Linux hands out by itself.
RENDEZVOUS = (
    'export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)"',
    'export MASTER_PORT="$((10000 + SLURM_JOB_ID % 20000))"',
)

# The worker saved its checkpoint and asks to be started again. The host does that: an image has no scontrol. An element is named
# ARRAY_INDEX, as the raw job id of one element is that of the whole array; teardown is the last command, so it must hand on the code.
TEARDOWN = (
    "rc=$?",
    "element=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}",
    f'if [ "$rc" -eq {EXIT_STOPPED} ] && [ "${{SLURM_RESTART_COUNT:-0}}" -lt {MAX_REQUEUES} ]; then',
    '  scontrol requeue "${element:-$SLURM_JOB_ID}" && sleep 60  # until the requeue ends this script',
    "fi",
    'exit "$rc"',
)


def submit_arrays(plan: Plan, *, config: Config) -> tuple[Submission, ...]:
    """Submit what is neither done nor in the queue already, and note the job id of each run in its folder.

    Who submits from a second shell waits here for the first, then finds everything submitted.

    Raises:
        UserError: sbatch refuses an array; what was submitted before stays submitted and noted.
    """
    check_container(config.container, here=False)
    with holding(config.runs_dir / "submit.lock"):
        plan = refreshed(plan, runs_dir=config.runs_dir)
        write_runs(plan, config=config)
        live = live_jobs(config.runs_dir, tuple(p.run.id for p in plan.runs))
        jobs = dict(live)
        submissions: list[Submission] = []
        for array in arrays_of(plan, config=config, live=live):
            for submission in _submit(array, config=config, jobs=jobs):
                save_submission(config.runs_dir, submission)
                jobs[submission.run_id] = submission.job_id
                submissions.append(submission)
        return tuple(submissions)


def sbatch_parameters(name: str, *, asked: Resources, site: Site, after: str | None) -> dict[str, Any]:
    """What submitit is told of an array, by its SlurmExecutor's names; None is left out."""
    return {
        "job_name": f"kdbatch-{name}",
        "time": asked.minutes,  # whole minutes: submitit calculates with it
        "nodes": asked.nodes,
        "ntasks_per_node": asked.tasks_per_node,
        "cpus_per_task": asked.cpus_per_task,
        "mem": f"{asked.memory_gb}GB" if asked.memory_gb else None,
        "partition": site.partition or None,
        "account": site.account or None,
        "qos": site.qos or None,
        "constraint": site.constraint or None,
        "wckey": None,  # submitit has one of its own, and some sites refuse those that they do not know
        "dependency": after,
        "array_parallelism": site.max_concurrent,
        "signal_delay_s": signal_delay_seconds(asked),
        # set -u is left out: the activation scripts of modules and conda read variables that nobody set
        "setup": ["set -eo pipefail", *site.setup, *(RENDEZVOUS if asked.num_tasks > 1 else ()), "set +e"],
        # since SLURM 22.05 a step does not inherit the first; with the second, the end of one process is the end of all, and of the wait
        "srun_args": [f"--cpus-per-task={asked.cpus_per_task}", "--kill-on-bad-exit=1"],
        "teardown": list(TEARDOWN),
        "additional_parameters": {"kill-on-invalid-dep": "yes", "requeue": True, **gpu_flag(asked, site=site)},
    }


def gpu_flag(asked: Resources, *, site: Site) -> dict[str, str]:
    """`--gres=gpu:TYPE:N` or `--gpus-per-node=TYPE:N`, as the site has it; nothing for a run without a GPU."""
    if not asked.gpus:
        return {}
    count = f"{site.gpu_type}:{asked.gpus}" if site.gpu_type else str(asked.gpus)
    return {"gres": f"gpu:{count}"} if site.gpu_flag == "gres" else {"gpus-per-node": count}


def signal_delay_seconds(asked: Resources) -> int:
    """How long before its time limit a worker is told to save; SLURM may send it up to a minute earlier. A quarter of short jobs."""
    return min(300, asked.minutes * 15)


def submit_targets(
    targets: Sequence[Callable[[], None]],
    *,
    name: str,
    resources: Resources,
    folder: Path,
    config: Config,
    binds: Sequence[Path],
    after: str | None = None,
) -> tuple[str, ...]:
    """One sbatch, an array of `targets`; returns the job id of each. `folder` takes SLURM's logs and submitit's files.

    `binds` are the folders that the targets need inside an image, `folder` among or below them.

    Raises:
        UserError: sbatch refuses, or the image is not there.
    """
    check_container(config.container, here=False)
    folder.mkdir(parents=True, exist_ok=True)
    # submitit tells of each array on this logger; our callers do that from the job ids.
    logging.getLogger("submitit").setLevel(logging.ERROR)
    with no_slurm_variables():
        try:
            python = as_shell(python_words(config, folders=binds))
            executor = submitit.SlurmExecutor(folder=folder.resolve(), python=python)
            executor.update_parameters(**sbatch_parameters(name, asked=resources, site=config.site, after=after))
            submitted: list[submitit.Job[None]] = []
            with executor.batch():
                for target in targets:
                    submitted.append(executor.submit(target))
        except RuntimeError as error:
            raise UserError(f"sbatch refused {folder.name}: {_last_line(error)}. Check [site] in kdbatch.toml against: sinfo") from error
    return tuple(job.job_id for job in submitted)


def _submit(array: Array, *, config: Config, jobs: dict[str, str]) -> tuple[Submission, ...]:
    """The folder has no job id in its name, so that it is there before the first job can start."""
    job_ids = submit_targets(
        [Target(str((config.runs_dir / run_id).resolve())) for run_id in array.run_ids],
        name=array.wave,
        resources=array.resources,
        folder=config.runs_dir / "slurm" / array.name,
        config=config,
        binds=(config.runs_dir, config.shards_dir),
        after=dependency(array, jobs),
    )
    now = time.time()
    return tuple(Submission(run_id=r, job_id=job_id, submitted_at=now) for r, job_id in zip(array.run_ids, job_ids, strict=True))


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else type(error).__name__)
