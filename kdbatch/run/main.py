"""What a node does with a run folder: take it, check its parents, run its stage, say how it ended."""

import ctypes
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from kdbatch.run.cache import FrameCache
from kdbatch.run.loop import Worker
from kdbatch.run.provenance import provenance
from kdbatch.run.pulse import Pulse, StopFlag, Stopped
from kdbatch.run.stages import STAGES
from kdbatch.vocab.attempts import start_of
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.publish import publish_json, publish_text
from kdbatch.vocab.runs import Assignment, Cache, RunFolder
from kdbatch.vocab.status import EXIT_BLOCKED, EXIT_BUG, EXIT_BUSY, EXIT_DONE, EXIT_STOPPED, EXIT_USER

_PR_SET_PDEATHSIG = 1


def main(argv: Sequence[str], *, stop: StopFlag) -> int:
    """Run the folder named by the one argument. Exit codes are those of vocab.status."""
    if len(argv) != 1:
        print("usage: python -m kdbatch.run RUN_DIR", file=sys.stderr)  # noqa: T201 - the worker has no other voice yet
        return EXIT_USER
    folder = RunFolder(Path(argv[0]).resolve())
    _die_with_parent()
    try:
        assignment = folder.load()
        with _held(folder) as mine:
            if folder.is_done():
                return EXIT_DONE
            return _attempt(folder, assignment, stop) if mine else EXIT_BUSY
    except UserError as error:
        print(f"kdbatch: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_USER


def _attempt(folder: RunFolder, assignment: Assignment, stop: StopFlag) -> int:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    num_workers = 0
    if device.type == "cpu":
        torch.set_num_threads(1)  # sums in one order, so that a result does not depend on how many cores a machine has
    else:
        num_workers = max(1, len(os.sched_getaffinity(0)) - 1)
    start = start_of(os.environ)
    with Pulse(folder, device=device.type, stop=stop, start=start, retries=assignment.retries) as pulse:
        if pulse.refusal:
            pulse.end("failed", reason=pulse.refusal)
            return EXIT_BUG
        missing = [p for p in assignment.run.parents if not folder.parent(p).is_done()]
        if missing:
            pulse.end("blocked", reason=f"parent {missing[0]} is not done")
            return EXIT_BLOCKED
        worker = Worker(
            folder=folder,
            pulse=pulse,
            device=device,
            num_workers=num_workers,
            decoder=assignment.decoder,
            cache=_cache(assignment.cache),
        )
        try:
            facts = STAGES[assignment.run.recipe.kind](assignment.run.recipe, assignment, worker)
        except Stopped:
            pulse.end("stopped")
            return EXIT_STOPPED
        except UserError as error:
            pulse.end("failed", reason=str(error))
            return EXIT_USER
        except Exception as error:
            publish_text(folder.error, traceback.format_exc())
            pulse.end(
                "failed", reason=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} (see {folder.error.name})"
            )
            traceback.print_exc()
            return EXIT_BUG
        _finish(folder, assignment, pulse, facts, device)
        return EXIT_DONE


def _cache(asked: Cache) -> FrameCache | None:
    """The node's frame cache; a variable in its path that this node has not set means none, told in the run's log."""
    path = os.path.expandvars(asked.path)
    if not path or "$" in path:
        if path:
            print(f"kdbatch: no frame cache: cache.path is {asked.path}, and this node has not set it")  # noqa: T201
        return None
    return FrameCache(Path(path), max_bytes=int(asked.max_gb * 1e9))


def _finish(folder: RunFolder, assignment: Assignment, pulse: Pulse, facts: dict[str, object], device: torch.device) -> None:
    """done.json is written last: whoever sees it can trust every other file."""
    done = {
        "run_id": folder.id,
        "kind": assignment.run.recipe.kind,
        "title": assignment.title,
        "finished_at": time.time(),
        "seconds": pulse.seconds,
        "device_hours": pulse.seconds / 3600,
        "attempts": pulse.attempt,
        "interruptions": pulse.interruptions,
        **provenance(device),
        **facts,
    }
    publish_json(folder.done, done)
    folder.checkpoint.unlink(missing_ok=True)
    folder.error.unlink(missing_ok=True)
    pulse.end("done")


@contextmanager
def _held(folder: RunFolder) -> Iterator[bool]:
    """Hold the run's lock for as long as this process lives; False where another process holds it."""
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _die_with_parent() -> None:
    """A worker of the local queue must not outlive it: the kernel sends SIGTERM when the queue dies, however it dies."""
    queue = os.environ.get("KDBATCH_PARENT_PID", "")
    if not queue.isdigit():
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(queue):  # it died before the call
        os.kill(os.getpid(), signal.SIGTERM)
