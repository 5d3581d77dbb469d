"""This machine: its environment, GPUs, cores and scheduler; only this module reads `os.environ`."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from kdbatch.vocab.attempts.start import Start

QueueKind = Literal["slurm", "local"]
GpuMaker = Literal["NVIDIA", "AMD"]
CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")  # of AMD's kernel driver
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
        subprocess.TimeoutExpired: it has not ended after so many seconds; `output` is what it has
            printed.
    """
    with _memory_file() as out, _memory_file() as err:
        try:
            done = subprocess.run(
                command,
                input=stdin.encode(errors="replace"),
                stdout=out,
                stderr=err,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            error.output = _text_of(out)
            raise
        text, errors = map(_text_of, (out, err))
    return Answer(code=done.returncode, text=text, errors=errors)


def _memory_file() -> BinaryIO:
    """A file in memory for a command's output: a pipe would not end before every process that the
    command has left in the background, such as the ssh of a site's wrapper, has ended.
    """
    return os.fdopen(os.memfd_create("answer"), "w+b")


def _text_of(file: BinaryIO) -> str:
    file.seek(0)
    return _CONTROLS.sub("", file.read().decode(errors="replace"))


def job_start() -> Start:
    """The facts about this start that the script of its job gives."""
    return Start.from_environment(os.environ)


def queue_pid() -> int:
    """The process id of the local queue that started this process; 0 without one."""
    return job_start().parent_pid


def inside_job() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as `gpu_variable` names them; none where that variable is
    empty or no driver answers.
    """
    names = _listed_in(variable := gpu_variable())
    if names is None and variable == HIP:
        # HIP numbers the GPUs that ROCR_VISIBLE_DEVICES leaves, and reads CUDA's list as its own.
        left = _listed_in(ROCR)
        names = _listed_in(CUDA) if left is None else tuple(str(i) for i in range(len(left)))
    return tuple(str(i) for i in range(_driver(_path())[1])) if names is None else names


def gpu_maker() -> GpuMaker:
    """Whose GPUs this machine has; NVIDIA where nothing tells."""
    maker, count = _driver(_path())
    if not count and CUDA not in os.environ and (HIP in os.environ or ROCR in os.environ):
        return "AMD"
    return maker


def gpu_variable() -> str:
    """The environment variable that gives GPUs to a process. SLURM may have set those of all
    makers.
    """
    return HIP if gpu_maker() == "AMD" else CUDA


def _listed_in(variable: str) -> tuple[str, ...] | None:
    """The GPUs that a variable lists; None where it is not set. The drivers stop reading at the
    first entry that is not a device; -1 stands for none.
    """
    if (visible := os.environ.get(variable)) is None:
        return None
    return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))


def _path() -> str:
    return os.environ.get("PATH", "")


@functools.lru_cache(maxsize=1)
def _driver(path: str) -> tuple[GpuMaker, int]:
    """The maker and the number of the GPUs that this machine's driver lists with the programs in
    `path`. A driver that hangs, or programs without a driver, have none.
    """
    # "GPU 0: NVIDIA H200 (UUID: GPU-...)"; MIG slices follow indented and are not counted.
    if count := _count(r"(?m)^GPU [0-9]+:", "nvidia-smi", "-L"):
        return "NVIDIA", count
    # [{"gpu": 0, "bdf": ...}, ...] and {"card0": {...}, ...}, with warnings before and after
    count = _count(r'"gpu": *[0-9]+', "amd-smi", "list", "--json")
    count = count or _count(r'"card[0-9]+": *\{', "rocm-smi", "--showid", "--json")
    return ("AMD", count) if count or (count := _count_kfd()) else ("NVIDIA", 0)


def _count(pattern: str, *command: str) -> int:
    """How many different texts like `pattern` a command prints; 0 where it cannot be run."""
    if not shutil.which(command[0]):
        return 0
    try:
        return len(set(re.findall(pattern, ask(command, seconds=60).text)))
    except (OSError, subprocess.TimeoutExpired):
        return 0


def _count_kfd() -> int:
    """The GPUs of AMD's kernel driver: nodes with SIMD units. A cgroup may close some of them."""
    count = 0
    for node in KFD_NODES.glob("*/properties"):
        with contextlib.suppress(OSError):
            count += bool(re.search(r"(?m)^simd_count [1-9]", node.read_text(errors="replace")))
    return count


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
        if (variable := gpu_variable()) == HIP:
            env.pop(CUDA, None)  # HIP would read it too
        env[variable] = gpus[slot % len(gpus)]
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
