"""This machine: its environment, GPUs, cores and scheduler; only this module reads `os.environ`."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from kdbatch.vocab.retry_policy import Start

QueueKind = Literal["slurm", "local"]
# Colours and other sequences for a terminal, and control characters.
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def queue_kind() -> QueueKind:
    """`slurm` where `sbatch` is a command, else `local`."""
    return "slurm" if shutil.which("sbatch") else "local"


def has_command(name: str) -> bool:
    """Whether a command is on PATH."""
    return shutil.which(name) is not None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The output of a command of this machine, and its exit code."""

    code: int
    text: str
    errors: str

    @property
    def complaint(self) -> str:
        """The words about a failure: its errors, or its output where there are none."""
        return self.errors if self.errors.strip() else self.text


def ask(command: Sequence[str], *, stdin: str = "", seconds: float) -> Answer:
    """Run a command that is not ours, and return its answer. It may print anything: bytes that are
    no UTF-8 are replaced, and colours and control characters removed.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it has not ended after so many seconds.
    """
    done = subprocess.run(
        command,
        input=stdin.encode(errors="replace"),
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    text, errors = (
        _CONTROLS.sub("", raw.decode(errors="replace")) for raw in (done.stdout, done.stderr)
    )
    return Answer(code=done.returncode, text=text, errors=errors)


def queue_pid() -> int:
    """The process id of the local queue that started this process; 0 without one."""
    return Start.from_environment(os.environ).parent_pid


def inside_job() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none where that
    variable is empty or no driver answers.
    """
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # CUDA stops reading the list at the first entry that is not a device; -1 stands for none.
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if not shutil.which("nvidia-smi"):
        return ()
    try:
        listing = ask(["nvidia-smi", "-L"], seconds=60).text
    except (OSError, subprocess.TimeoutExpired):  # a driver that hangs has no GPUs to use
        return ()
    # "GPU 0: NVIDIA H200 (UUID: GPU-...)"; MIG slices follow indented and are not counted.
    gpus = [line for line in listing.split("\n") if re.match(r"GPU [0-9]+:", line)]
    return tuple(str(i) for i in range(len(gpus)))


def expand_variables(text: str) -> str:
    """Replace `$NAME` by the value in this machine's environment; an unknown name stays."""
    return os.path.expandvars(text)


def num_cpus() -> int:
    """The number of cores that this process may use: a container or a SLURM allocation may have
    fewer than the machine.
    """
    return len(os.sched_getaffinity(0))


def default_jobs() -> int:
    """The default number of slots of the local queue: one per GPU, or one per core."""
    return len(visible_gpus()) or num_cpus()


def worker_env(slot: int, *, jobs: int, gpus: tuple[str, ...], pid: int) -> dict[str, str]:
    """The environment of the worker in slot `slot` of `jobs`: its GPU, its number of threads, and
    the process id of the queue that it must not outlive.

    Without GPUs a worker gets one thread, so that the order of sums, and with it the last bit of a
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
    """Remove the variables of SLURM's commands from the environment inside: those of a surrounding
    job would override the script's own flags, and those of a profile, such as SQUEUE_STATES, would
    hide jobs.

    KDBATCH_* is removed too, as it describes this job and not the next one. SLURM_CONF stays: it
    names the cluster. All variables are restored on leaving.
    """
    prefixes = (
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
    removed: dict[str, str] = {}
    for name in list(os.environ):
        if name.startswith(prefixes) and name != "SLURM_CONF":
            removed[name] = os.environ.pop(name)
    try:
        yield
    finally:
        os.environ.update(removed)
