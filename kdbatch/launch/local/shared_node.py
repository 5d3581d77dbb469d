"""Starts the runs that share a job, where a site has no steps, and gives each its GPU and cores.

`python -m kdbatch.launch.local.shared_node FOLDER RUN_DIR...` is the job's one process. It does
what the job's script does where there are steps (job.sh): FOLDER gets the same files of each run,
and the exit code is the largest of 0, a run is done; 1, it has ended otherwise; 85, it may go on.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kdbatch.base.output.visible_text import visible
from kdbatch.base.text import plural
from kdbatch.launch.local.worker import WorkerProcess, start_worker
from kdbatch.launch.machine import job_start, visible_gpus
from kdbatch.vocab.attempts.exit_rules import (
    EXIT_BUG,
    EXIT_DONE,
    EXIT_STOPPED,
    EXIT_USER,
    exit_rule,
)
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.start import START_VARIABLES
from kdbatch.vocab.runs.folder import RunFolder

POLL_SECONDS, CANCEL_SECONDS = 0.2, 3.0


def main(folder: Path, run_dirs: Sequence[str]) -> int:
    """Start the runs that are not over, hand on signals, and wait for all of them."""
    job = job_start()
    runs = [RunFolder(Path(run_dir)) for run_dir in run_dirs]
    assignment = runs[0].load()
    gpus = visible_gpus() if assignment.resources.gpus else ()
    if assignment.resources.gpus and len(gpus) < len(runs):
        few = f"{len(runs)} runs share this job, which sees {plural(len(gpus), 'GPU')}"
        remedy = "Write no more for runs_per_job in kdbatch.toml, then submit again"
        sys.stderr.write(visible(f"kdbatch: {few}. {remedy}") + "\n")
        return EXIT_USER
    stems = [folder / f"{job.job}.{place}" for place in range(len(runs))]
    cores = sorted(os.sched_getaffinity(0))
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a worker inherits it, until it can save
    workers: dict[Path, WorkerProcess] = {}
    for place, (run, stem) in enumerate(zip(runs, stems, strict=True)):
        if not over(stem).exists():
            os.sched_setaffinity(0, _share(cores, place, of=len(runs)))
            workers[stem] = start_worker(run, slot=place, jobs=1, gpus=gpus, command=_command(stem))
    os.sched_setaffinity(0, cores)

    def hand_on(number: int, _frame: object) -> None:
        for worker in workers.values():
            worker.stop(number)

    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, hand_on)
    return _wait_for_all(workers, restart=job.restart, retries=assignment.retries)


def over(stem: Path) -> Path:
    """The file that marks a run as ended, or as cancelled."""
    return stem.with_name(f"{stem.name}.over")


def _share(cores: Sequence[int], place: int, *, of: int) -> Sequence[int]:
    """The cores of one run."""
    each = len(cores) // of
    return cores[place * each : (place + 1) * each] or (cores[place % len(cores)],)


def _command(stem: Path) -> tuple[str, ...]:
    """The command of a worker, which receives how its earlier starts ended."""
    exits = ";".join(_endings(stem))
    told = f"{START_VARIABLES['exits']}={exits}"
    return ("env", told, sys.executable, "-P", "-u", "-m", "kdbatch.run")


def _wait_for_all(workers: dict[Path, WorkerProcess], *, restart: int, retries: Retries) -> int:
    worst, next_look = EXIT_DONE, 0.0
    while workers:
        time.sleep(POLL_SECONDS)
        for stem, worker in tuple(workers.items()):
            if (code := worker.process.poll()) is not None:
                del workers[stem]
                worst = max(worst, _note_end(stem, code, restart=restart, retries=retries))
        if time.monotonic() >= next_look:
            next_look = time.monotonic() + CANCEL_SECONDS
            for worker in [w for stem, w in workers.items() if over(stem).exists()]:
                worker.stop()
    return worst


def _note_end(stem: Path, code: int, *, restart: int, retries: Retries) -> int:
    """Note how a run ended, and return its part of the exit code."""
    code = 128 - code if code < 0 else code
    try:
        if code:
            with stem.with_name(f"{stem.name}.ended").open("a", encoding="utf-8") as file:
                file.write(f"{restart} {code}\n")
            times = sum(line.endswith(f" {code}") for line in _endings(stem))
            if times <= exit_rule(code).max_retries(retries) and not over(stem).exists():
                return EXIT_STOPPED
        over(stem).touch()
    except OSError:  # a full disk: nothing would limit the starts
        return EXIT_BUG
    return EXIT_BUG if code else EXIT_DONE


def _endings(stem: Path) -> list[str]:
    path = stem.with_name(f"{stem.name}.ended")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
