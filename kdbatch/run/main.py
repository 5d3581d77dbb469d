"""What a node does with a run folder: take it, check its parents, run its stage, say how it ended."""

import ctypes
import fcntl
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from kdbatch.base.atomic_write import write_text
from kdbatch.base.errors import UserError
from kdbatch.base.processes import end_with_parent
from kdbatch.run.context import RunContext
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.device import select_device
from kdbatch.run.distributed.process_group import (
    ProcessGroup,
    RendezvousError,
    init_process_group,
    is_lost_rank,
)
from kdbatch.run.distributed.rank_info import RankInfo, rank_info
from kdbatch.run.heartbeat import StatusReporter, Stopped, StopSignal
from kdbatch.run.provenance import provenance
from kdbatch.run.stages import STAGES
from kdbatch.run.train.optim import can_compile
from kdbatch.vocab.done import Done, StageFacts, save_done
from kdbatch.vocab.retry_policy import (
    EXIT_BLOCKED,
    EXIT_BUG,
    EXIT_BUSY,
    EXIT_DONE,
    EXIT_RENDEZVOUS,
    EXIT_STOPPED,
    EXIT_USER,
    Start,
)
from kdbatch.vocab.runs import Assignment, Cache, RunFolder
from kdbatch.vocab.status import RunState

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_GO = b"go"


def main(argv: Sequence[str], *, stop: StopSignal) -> int:
    """Run the folder named by the one argument, alone or as one of several processes that train it
    together.

    Exit codes are those of vocab.status. All processes of a team exit with its leader's code, as
    far as they live to hear it.
    """
    if len(argv) != 1:
        print("usage: python -m kdbatch.run RUN_DIR", file=sys.stderr)  # noqa: T201 - the worker has no other voice yet
        return EXIT_USER
    folder = RunFolder(Path(argv[0]).resolve())
    _die_with_parent()
    try:
        assignment = folder.load()
        place = rank_info(os.environ)
        with init_process_group(place, _device(place)) as team:
            return (
                _run_rank0(folder, assignment, stop, team)
                if team.is_rank0
                else _run_other_rank(folder, assignment, stop, team)
            )
    except UserError as error:
        print(f"kdbatch: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_RENDEZVOUS if isinstance(error, RendezvousError) else EXIT_USER


def _device(info: RankInfo) -> torch.device:
    device = select_device(info.local_rank)
    if device.type == "cpu":
        _keep_memory()
    return device


def _run_rank0(
    folder: RunFolder, assignment: Assignment, stop: StopSignal, group: ProcessGroup
) -> int:
    """Take the run if it is free, not done and not blocked; tell the others, and how it ended. For
    a team of one too.
    """
    with _held(folder) as mine:
        code = EXIT_DONE if folder.is_done() else None if mine else EXIT_BUSY
        if code is None:
            start = Start.from_environment(os.environ)
            with StatusReporter(
                folder, device=group.device.type, stop=stop, start=start, retries=assignment.retries
            ) as pulse:
                missing = [p for p in assignment.run.parents if not folder.parent(p).is_done()]
                if pulse.refusal:
                    code = EXIT_BUG
                    pulse.end("failed", reason=pulse.refusal)
                elif missing:
                    code = EXIT_BLOCKED
                    pulse.end("blocked", reason=f"parent {missing[0]} is not done")
                else:
                    group.broadcast_bytes(_GO)
                    code = _attempt(folder, assignment, pulse, group)
                    if (
                        code != EXIT_DONE
                        # the others fail by themselves, or find this process gone; they may be waiting
                        # for something else
                    ):
                        return code
        group.broadcast_bytes(str(code).encode())
        return code


def _run_other_rank(
    folder: RunFolder, assignment: Assignment, stop: StopSignal, group: ProcessGroup
) -> int:
    """Do as the leader does, and write nothing."""
    try:
        word = group.broadcast_bytes(None)
        if word == _GO:
            with StatusReporter(folder, device=group.device.type, stop=stop, writes=False) as pulse:
                code = _attempt(folder, assignment, pulse, group)
            if code != EXIT_DONE:
                return code
            word = group.broadcast_bytes(None)
        return int(word or EXIT_BUG)
    except RuntimeError as error:
        if not is_lost_rank(error):
            raise
        return EXIT_BUG  # of the codes of several tasks SLURM reports the highest: the leader's


def _attempt(
    folder: RunFolder, assignment: Assignment, reporter: StatusReporter, group: ProcessGroup
) -> int:
    gpu = group.device.type == "cuda"
    worker = RunContext(
        folder=folder,
        reporter=reporter,
        device=group.device,
        num_workers=max(1, len(os.sched_getaffinity(0)) // group.processes_on_node - 1)
        if gpu
        else 0,
        clip_reader=ClipReader(decoder=assignment.decoder, cache=_cache(assignment.cache)),
        group=group,
        compile_layers=assignment.resources.compile and can_compile(group),
    )
    try:
        facts = STAGES[assignment.run.recipe.kind](assignment.run.recipe, assignment, worker)
    except Exception as error:
        return _failed(folder, reporter, group, error)
    if group.is_rank0:
        _finish(folder, assignment, reporter, facts, group)
    return EXIT_DONE


def _failed(
    folder: RunFolder, reporter: StatusReporter, group: ProcessGroup, error: Exception
) -> int:
    """Say how it ended, in the run's folder and to the others; where one of them was the first to
    fail, in its words.
    """
    state: RunState = "failed"
    if isinstance(error, Stopped):
        code, state, reason = EXIT_STOPPED, "stopped", ""
    elif isinstance(error, UserError):
        code, reason = EXIT_USER, str(error)
    elif group.world_size > 1 and is_lost_rank(error):
        code, reason = _exit_after_lost_peer(group)
        state = "stopped" if code == EXIT_STOPPED else "failed"
    else:
        code, reason = (
            EXIT_BUG,
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} (see {folder.error.name})",
        )
        write_text(folder.error, traceback.format_exc())
        traceback.print_exc()
    reporter.end(state, reason=reason)
    group.post_exit_reason(code, reason)
    if state == "stopped":
        # the first to exit ends the others (srun's --kill-on-bad-exit): the leader must have saved
        # and told its end
        group.wait_for_rank0()
    return code


def _exit_after_lost_peer(group: ProcessGroup) -> tuple[int, str]:
    """Code and reason where another process has ended. One that was killed leaves no word: then the
    run may go on, as one that stopped.

    Of the codes of several tasks SLURM reports the highest, and that should be the leader's: the
    others take the lowest that is not 0.
    """
    if not group.is_rank0:
        return EXIT_BUG, ""
    word = group.exit_reason_of_others()
    if word is None:
        return (
            EXIT_STOPPED,
            f"one of its {group.world_size} processes was lost; it can go on from its last checkpoint",
        )
    rank, code, text = word
    return code, f"process {rank} of {group.world_size}: {text}"


def _cache(asked: Cache) -> FrameCache | None:
    """The node's frame cache; a variable in its path that this node has not set means none, told in
    the run's log.
    """
    path = os.path.expandvars(asked.path)
    if not path or "$" in path:
        if path:
            why = f"cache.path is {asked.path}, and this node has not set it"
            print(f"kdbatch: no frame cache: {why}")  # noqa: T201
        return None
    return FrameCache(Path(path), max_bytes=int(asked.max_gb * 1e9))


def _finish(
    folder: RunFolder,
    assignment: Assignment,
    reporter: StatusReporter,
    facts: StageFacts,
    group: ProcessGroup,
) -> None:
    """Write done.json last, so that a reader who sees it can trust every other file."""
    seconds = reporter.seconds  # a clock: read once, so that both numbers are of the same moment
    image_sha256 = Start.from_environment(os.environ).image_sha256
    done = Done(
        run_id=folder.id,
        kind=assignment.run.recipe.kind,
        title=assignment.title,
        finished_at=time.time(),
        seconds=seconds,
        device_hours=group.world_size * seconds / 3600,
        attempts=reporter.attempt,
        interruptions=reporter.interruptions,
        provenance=provenance(group.device, image_sha256=image_sha256),
        facts=facts,
    )
    save_done(folder.done, done)
    folder.checkpoint.unlink(missing_ok=True)
    folder.error.unlink(missing_ok=True)
    reporter.end("done")


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


def _keep_memory() -> None:
    """What a step on a CPU frees, the next one takes again; the C library gives large blocks back
    to the kernel, which clears them each time. Keeping them is a tenth of a narrow R(2+1)D's step.
    Only glibc can be told so.
    """
    library = ctypes.CDLL(None)
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD) if hasattr(library, "mallopt") else ():
        library.mallopt(option, 2**31 - 1)


def _die_with_parent() -> None:
    """A worker of the local queue must not outlive it: the kernel sends SIGTERM when the queue
    dies, however it dies.
    """
    if queue_pid := Start.from_environment(os.environ).parent_pid:
        end_with_parent(queue_pid)
