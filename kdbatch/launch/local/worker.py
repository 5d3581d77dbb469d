"""One worker process of the local queue: started in a slot, asked to stop, read when it ends."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.container.image import image_file
from kdbatch.launch.machine import worker_env
from kdbatch.vocab.config import Config
from kdbatch.vocab.retry_policy import Start
from kdbatch.vocab.runs import RunFolder


def worker_command(config: Config) -> tuple[str, ...]:
    """What starts a worker of the local queue, but for its run folder.

    Bare, the worker itself takes care not to outlive the queue. Inside an image it has another
    parent: guard.py does it there.

    Raises:
        UserError: the image is not there.
    """
    check_container(config, on_this_machine=True)
    words = as_argv(python_command(config, folders=(config.runs_dir, config.shards_dir)))
    guard = (
        (sys.executable, "-m", "kdbatch.launch.local.signal_forwarder")
        if config.container.image
        else ()
    )
    image = image_file(config)
    start = Start(image_sha256=image.sha256 if image else "").to_environment()
    variables = ("env", *(f"{name}={value}" for name, value in start.items())) if start else ()
    return (*guard, *variables, *words, "-m", "kdbatch.run")


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """A running process and the slot that it fills."""

    folder: RunFolder
    slot: int
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """Ask it to save its checkpoint and to end."""
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now, and what it started: its data loaders share its process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def start_worker(
    folder: RunFolder, *, slot: int, jobs: int, gpus: tuple[str, ...], command: tuple[str, ...]
) -> WorkerProcess:
    """Start `command RUN_DIR`; what it prints is added to the run's log.

    A session of its own keeps the terminal's Ctrl-C away from it: the queue hears that, and asks
    for a checkpoint.
    """
    with folder.log.open("ab") as log:
        process = subprocess.Popen(
            [*command, str(folder.path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=worker_env(slot, jobs=jobs, gpus=gpus, pid=os.getpid()),
            start_new_session=True,
        )
    return WorkerProcess(folder=folder, slot=slot, process=process)
