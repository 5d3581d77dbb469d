"""What this machine is: its environment, GPUs, cores and scheduler. The one place of this room that
reads `os.environ`.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Literal

from kdbatch.vocab.retry_policy import Start

QueueKind = Literal["slurm", "local"]
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def queue_kind() -> QueueKind:
    """`slurm` where `sbatch` is a command, else `local`."""
    return "slurm" if shutil.which("sbatch") else "local"


def has_command(name: str) -> bool:
    return shutil.which(name) is not None


def queue_pid() -> int:
    """The local queue that started this process; 0 where none did."""
    return Start.from_environment(os.environ).parent_pid


def inside_job() -> bool:
    return "SLURM_JOB_ID" in os.environ


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that we may use, as CUDA_VISIBLE_DEVICES names them; none where that variable is
    empty or no driver answers.
    """
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # CUDA stops reading the list at the first entry that is no device; -1 is the usual way to
        # say "none".
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if not shutil.which("nvidia-smi"):
        return ()
    # "GPU 0: NVIDIA H200 (UUID: GPU-...)"; MIG slices follow indented and are not counted.
    listed = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False
    )
    return tuple(
        str(i) for i in range(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))
    )


def expand_variables(text: str) -> str:
    """`text` with `$NAME` replaced by what this machine's environment has; an unknown name stays."""
    return os.path.expandvars(text)


def num_cpus() -> int:
    """Cores that this process may use: a container or a SLURM allocation may own fewer than the
    machine has.
    """
    return len(os.sched_getaffinity(0))


def default_jobs() -> int:
    """Slots of the local queue where nobody said how many: one per GPU, or one per core."""
    return len(visible_gpus()) or num_cpus()


def worker_env(slot: int, *, jobs: int, gpus: tuple[str, ...], pid: int) -> dict[str, str]:
    """The environment of slot `slot` of `jobs`: its GPU, its threads, and the queue that it must
    not outlive.

    Without GPUs a worker gets one thread, so that a sum's order, and with it the last bit of a
    result, does not depend on `jobs`.
    """
    env = dict(os.environ) | Start(parent_pid=pid).to_environment()
    env.setdefault("PYTHONUNBUFFERED", "1")
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    for name in THREAD_VARIABLES:
        env.setdefault(name, str(max(1, num_cpus() // jobs)) if gpus else "1")
    return env


@contextlib.contextmanager
def without_slurm_variables() -> Iterator[None]:
    """Inside, SLURM's commands see no variables that are theirs: those of a surrounding job would
    override the script's own flags, and those of a profile, such as SQUEUE_STATES, leave out what
    we ask for.

    Nor KDBATCH_*: they tell of this job, not of that one. SLURM_CONF stays: it says which cluster.
    Everything is put back on leaving.
    """
    ours = (
        "SLURM_",
        "SBATCH_",
        "SRUN_",
        "SQUEUE_",
        "SACCT_",
        "SCANCEL_",
        "SCONTROL_",
        "SINFO_",
        "KDBATCH_",
    )
    taken = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(ours) and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ.update(taken)
