"""A real process that keeps the worker's protocol (lock, status.json, done.json, exit codes) and trains nothing.

`act.json` in the run folder says how it behaves: {"steps": 3, "step_seconds": 0.02, "exit": 1, "sigkill_times": 1, "stop_times": 1}.
Each attempt adds a line to `events.txt` beside the run folders when it begins and when it ends.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import EXIT_BLOCKED, EXIT_BUSY, EXIT_STOPPED, Status, load_status, save_status


def main(folder: RunFolder) -> int:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    if "KDBATCH_PARENT_PID" in os.environ and os.getppid() != int(os.environ["KDBATCH_PARENT_PID"]):
        return EXIT_STOPPED
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda received, _frame: asked.append(received))
    with folder.lock.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return EXIT_BUSY
        return 0 if folder.is_done() else attempt(folder, asked)


def attempt(folder: RunFolder, asked: list[int]) -> int:
    if not all(folder.parent(p).is_done() for p in folder.load().run.parents):
        return EXIT_BLOCKED
    act = json.loads((folder.path / "act.json").read_text()) if (folder.path / "act.json").exists() else {}
    before = load_status(folder.status) or Status(state="queued")
    number, first = before.attempt + 1, before.step
    note(folder, f"begin {folder.id} {number} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}")
    num_steps = act.get("steps", 1)
    for step in range(first, num_steps):
        say(folder, "running", number, step, num_steps)
        if number <= act.get("sigkill_times", 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if asked or number <= act.get("stop_times", 0):
            say(folder, "stopped", number, step, num_steps, reason="asked to stop")
            note(folder, f"stop {folder.id} {number}")
            return EXIT_STOPPED
        time.sleep(act.get("step_seconds", 0.01))
    if act.get("exit"):
        say(folder, "failed", number, num_steps, num_steps, reason=act.get("reason", ""))
        return act["exit"]
    say(folder, "done", number, num_steps, num_steps)
    note(folder, f"end {folder.id} {number}")
    folder.done.write_text("{}")
    return 0


def say(folder: RunFolder, state: str, attempt: int, step: int, num_steps: int, *, reason: str = "") -> None:
    status = Status(
        state=state,
        attempt=attempt,
        step=step,
        num_steps=num_steps,
        seconds=float(step),
        heartbeat_at=time.time(),
        metric=f"loss {step}",
        host=socket.gethostname(),
        pid=os.getpid(),
        reason=reason,
    )
    save_status(folder.status, status)


def note(folder: RunFolder, line: str) -> None:
    with (folder.path.parent / "events.txt").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1]))))
