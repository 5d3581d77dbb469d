"""The callable that submitit pickles for a node: strings that any Python or image can read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# With -P a module comes from the installed packages, and never from the folder that a job starts
# in, where others may be able to write.
PYTHON_FLAGS = ("-P", "-u", "-m")


@dataclass(frozen=True)
class Target:
    """Replaces its process by the worker of `run_dir`.

    It has no `checkpoint` attribute: submitit must not requeue from inside a container.
    """

    run_dir: str

    def __call__(self) -> None:
        import os  # a node's imports: the module that is pickled by name stays free of them
        import signal
        import sys

        # A warning that comes before the worker handles it must not end the process. SIGUSR2 stays
        # ignored through exec, and the worker knows its time limit.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        path = f"{self.run_dir}/log.txt"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # exec, so that the worker is srun's own child: it gets each signal once, and its exit code
        # is the task's.
        os.execv(sys.executable, [sys.executable, *PYTHON_FLAGS, "kdbatch.run", self.run_dir])


@dataclass(frozen=True)
class PackedTarget:
    """Starts one of the runs that share a job: that of this step's place; or all of them, where
    the job has no steps.
    """

    run_dirs: tuple[str, ...]
    folder: str

    def __call__(self) -> None:
        import os  # as above
        import signal
        import sys

        if place := os.environ.get("KDBATCH_PLACE"):
            Target(self.run_dirs[int(place)])()
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        command = [sys.executable, *PYTHON_FLAGS, "kdbatch.launch.local.shared_node", self.folder]
        os.execv(sys.executable, [*command, *self.run_dirs])


def packed_targets(
    targets: Sequence[Callable[[], None]], runs_per_job: int, *, folder: Path
) -> list[Callable[[], None]]:
    """The target of each element: one of these, or so many of runs together."""
    if runs_per_job == 1:
        return list(targets)
    run_dirs = [target.run_dir for target in targets if isinstance(target, Target)]
    assert len(run_dirs) == len(targets)
    return [
        PackedTarget(tuple(run_dirs[i : i + runs_per_job]), str(folder.resolve()))
        for i in range(0, len(run_dirs), runs_per_job)
    ]


@dataclass(frozen=True)
class ModuleTarget:
    """Replaces its process by `python -m ARGUMENTS` in the folder `cwd`. Output goes to `log`."""

    cwd: str
    arguments: tuple[str, ...]
    log: str

    def __call__(self) -> None:
        import os  # as above
        import sys

        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.cwd)
        os.execv(sys.executable, [sys.executable, *PYTHON_FLAGS, *self.arguments])
