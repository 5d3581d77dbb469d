"""One worker process of the local queue: started in a slot, asked to stop, killed."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from kdbatch.launch.container.command import as_argv, python_command
from kdbatch.launch.container.image import image_file
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.machine import worker_env
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.config import Config
from kdbatch.vocab.runs.folder import RunFolder


def worker_command(config: Config) -> tuple[str, ...]:
    """The command that starts a worker of the local queue, without its run folder.

    A bare worker ends by itself when the queue dies. Inside an image it has another parent, and
    signal_forwarder.py ends it.

    Raises:
        UserError: the image is missing.
    """
    prepare_container(config, on_this_machine=True)
    python = as_argv(python_command(config, folders=(config.runs_dir, config.shards_dir)))
    forwarder: tuple[str, ...] = ()
    if config.container.image:
        forwarder = (sys.executable, "-P", "-m", "kdbatch.launch.local.signal_forwarder")
    variables: tuple[str, ...] = ()
    if image := image_file(config):
        start = Start(image_sha256=image.sha256).to_environment()
        variables = ("env", *(f"{name}={value}" for name, value in start.items()))
    # -P: a module never comes from the folder of the study, where others may be able to write.
    return (*forwarder, *variables, *python, "-P", "-m", "kdbatch.run")


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """A running worker and the slot that it occupies."""

    folder: RunFolder
    slot: int
    process: "subprocess.Popen[bytes]"

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to save its checkpoint and to end."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it now, with the processes that it started: they are in its process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def start_worker(
    folder: RunFolder, *, slot: int, jobs: int, gpus: tuple[str, ...], command: tuple[str, ...]
) -> WorkerProcess:
    """Start `command RUN_DIR` in a slot; its output is appended to the run's log.

    It gets a session of its own, so that the terminal's Ctrl-C reaches only the queue, which then
    asks the worker for a checkpoint.
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
