"""A process with the worker's protocol (lock, status.json, done.json, exit codes), without
training.

`act.json` in the run folder has its behaviour: {"steps": 3, "step_seconds": 0.02, "exit": 1,
"sigkill_times": 1, "stop_times": 1}. Each attempt adds a line to `events.txt` beside the run
folders when it begins and when it ends.
"""

import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from pathlib import Path

from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.vocab.attempts.exit_rules import EXIT_BLOCKED, EXIT_BUG, EXIT_BUSY, EXIT_STOPPED
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, load_status


def main(folder: RunFolder) -> int:
    stop = StopSignal().listen()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    queue_pid = Start.from_environment(os.environ).parent_pid
    if queue_pid and os.getppid() != queue_pid:
        return EXIT_STOPPED
    with folder.lock.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return EXIT_BUSY
        return 0 if folder.is_done() else attempt(folder, stop)


def attempt(folder: RunFolder, stop: StopSignal) -> int:
    assignment = folder.load()
    if not all(folder.parent(p).is_done() for p in assignment.run.parents):
        return EXIT_BLOCKED
    act = (
        json.loads((folder.path / "act.json").read_text())
        if (folder.path / "act.json").exists()
        else {}
    )
    before = load_status(folder.status) or Status(state="queued")
    with StatusReporter(
        folder,
        device="cpu",
        stop=stop,
        start=Start.from_environment(os.environ),
        retries=assignment.retries,
    ) as pulse:
        if pulse.refusal:
            pulse.end("failed", reason=pulse.refusal)
            return EXIT_BUG
        note(
            folder,
            f"begin {folder.id} {pulse.attempt} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}",
        )
        num_steps = act.get("steps", 1)
        for step in range(before.step, num_steps):
            pulse.update(step=step, num_steps=num_steps, metric=f"loss {step}")
            if pulse.attempt <= act.get("sigkill_times", 0):
                os.kill(os.getpid(), signal.SIGKILL)
            if pulse.stop_requested or pulse.attempt <= act.get("stop_times", 0):
                stop.requested = True
                pulse.end("stopped")
                note(folder, f"stop {folder.id} {pulse.attempt}")
                return EXIT_STOPPED
            time.sleep(act.get("step_seconds", 0.01))
        pulse.update(step=num_steps, num_steps=num_steps)
        if act.get("exit"):
            pulse.end("failed", reason=act.get("reason", ""))
            return act["exit"]
        note(folder, f"end {folder.id} {pulse.attempt}")
        folder.done.write_text("{}")
        pulse.end("done")
        return 0


def note(folder: RunFolder, line: str) -> None:
    with (folder.path.parent / "events.txt").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
