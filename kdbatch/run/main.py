"""The worker: locks a run folder, checks its parents, runs its stage, records how it ended."""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.processes import end_with_parent
from kdbatch.result.digests import digest_label_ranks, digest_results
from kdbatch.run.attempt.ending import disk_ending, end_attempt, pause_if_shared
from kdbatch.run.compilation.cache import choose_compile_cache
from kdbatch.run.context import RunContext
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.frame_cache import find_frame_cache
from kdbatch.run.device import keep_freed_memory, select_device
from kdbatch.run.distributed.process_group import (
    ProcessGroup,
    RendezvousError,
    init_process_group,
    is_lost_rank,
)
from kdbatch.run.distributed.rank_info import RankInfo, rank_info
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.run.meters.nvml import GpuPower
from kdbatch.run.provenance import provenance
from kdbatch.run.run_log import log_start, log_to_stdout
from kdbatch.run.stages import STAGES
from kdbatch.vocab.attempts.exit_rules import (
    EXIT_BLOCKED,
    EXIT_BUG,
    EXIT_BUSY,
    EXIT_DISK_FULL,
    EXIT_DONE,
    EXIT_RENDEZVOUS,
    EXIT_USER,
)
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.done import Done, StageFacts, save_done
from kdbatch.vocab.extensions.sources import check_code
from kdbatch.vocab.jobs.lost_nodes import note_lost_node
from kdbatch.vocab.jobs.pause import reason_of_pause
from kdbatch.vocab.runs.folder import Assignment, RunFolder

_START_MESSAGE = b"go"  # from rank 0: run the stage; any other message is an exit code


def main(argv: Sequence[str], *, stop: StopSignal) -> int:
    """Run the folder named by the one argument, as the only process or as one rank of several.

    Exit codes are those of vocab/attempts/exit_rules.py. All ranks exit with the code of rank 0,
    unless they lose the connection before they receive it.
    """
    if len(argv) != 1:
        usage = "usage: python -m kdbatch.run RUN_DIR"
        print(usage, file=sys.stderr)  # noqa: T201 - there is no status file to write to
        return EXIT_USER
    folder = RunFolder(Path(argv[0]).resolve())
    _terminate_with_parent()
    try:
        assignment = folder.load(to_train=not folder.is_done())
        info = rank_info(os.environ)
        with init_process_group(info, _device(info)) as group:
            run = _run_rank0 if group.is_rank0 else _run_other_rank
            return run(folder, assignment, stop, group)
    except UserError as error:
        _print_error(str(error))
        return EXIT_RENDEZVOUS if isinstance(error, RendezvousError) else EXIT_USER
    except OSError as error:  # before the stage: the lock, or the first status
        ending = disk_ending(error, path=folder.path)
        if not ending:
            raise
        if Start.from_environment(os.environ).job:
            pause_if_shared(ending, folder)
        _print_error(ending.reason)
        return ending.code


def _print_error(text: str) -> None:
    """Print one line to the log, which may be on the full disk, too."""
    with contextlib.suppress(OSError):
        print(f"kdbatch: {visible(text)}", file=sys.stderr, flush=True)  # noqa: T201


def _device(info: RankInfo) -> torch.device:
    device = select_device(info.local_rank)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _run_rank0(
    folder: RunFolder, assignment: Assignment, stop: StopSignal, group: ProcessGroup
) -> int:
    """Run the stage if the run is free, not done and not blocked; broadcast start and exit code.

    This is also the way of a single process.
    """
    with _lock_run(folder) as is_locked:
        if folder.is_done():
            code = EXIT_DONE
        elif not is_locked:
            code = EXIT_BUSY
        else:
            code, is_shared = _start(folder, assignment, stop, group)
            if not is_shared:
                return code
        group.broadcast_bytes(str(code).encode())
        return code


def _start(
    folder: RunFolder, assignment: Assignment, stop: StopSignal, group: ProcessGroup
) -> tuple[int, bool]:
    """Return the exit code of an attempt of a locked run, and whether to broadcast it.

    After a failed stage nothing is broadcast: the other ranks may be waiting in another collective,
    where a broadcast would not match. They fail by themselves, or notice that rank 0 is gone.
    """
    start = Start.from_environment(os.environ)
    with (
        log_to_stdout(),
        StatusReporter(
            folder,
            device=group.device.type,
            stop=stop,
            start=start,
            retries=assignment.retries,
            watts=GpuPower(group.device).watts,
        ) as reporter,
    ):
        missing = _missing_parent(folder, assignment)
        if reporter.lost_node and assignment.resources.nodes == 1:  # of several, it may be any
            note_lost_node(folder.path.parent, node=reporter.lost_node, run_id=folder.id)
        if reporter.refusal:
            reporter.end("failed", reason=reporter.refusal)
            return EXIT_BUG, True
        if missing:
            reporter.end("blocked", reason=missing)
            return EXIT_BLOCKED, True
        if start.job and (reason := reason_of_pause(folder.path.parent)):
            reporter.end("stopped", reason=f"the study pauses: {reason}", cause="disk_full")
            return EXIT_DISK_FULL, True
        group.broadcast_bytes(_START_MESSAGE)
        code = _attempt(folder, assignment, reporter, group)
        return code, code == EXIT_DONE


def _missing_parent(folder: RunFolder, assignment: Assignment) -> str:
    """Why the results of a parent cannot be used; empty if all are done."""
    for parent in assignment.run.parents:
        try:
            if not folder.parent(parent).is_done():
                return f"parent {parent} is not done"
        except UnreadableError as error:
            return f"parent {parent}: {error}"
    return ""


def _run_other_rank(
    folder: RunFolder, assignment: Assignment, stop: StopSignal, group: ProcessGroup
) -> int:
    """Run the stage when rank 0 does, without writing a file; return rank 0's exit code."""
    try:
        message = group.broadcast_bytes(None)
        if message == _START_MESSAGE:
            with StatusReporter(
                folder, device=group.device.type, stop=stop, writes=False
            ) as reporter:
                code = _attempt(folder, assignment, reporter, group)
            if code != EXIT_DONE:
                return code
            message = group.broadcast_bytes(None)
        return int(message or EXIT_BUG)
    except RuntimeError as error:
        if not is_lost_rank(error):
            raise
        return EXIT_BUG  # see _reason_of_lost_rank


def _attempt(
    folder: RunFolder, assignment: Assignment, reporter: StatusReporter, group: ProcessGroup
) -> int:
    num_workers = 0
    if group.device.type == "cuda":
        num_workers = max(1, len(os.sched_getaffinity(0)) // group.processes_on_node - 1)
    is_first_on_node = group.rank % group.processes_on_node == 0
    warn = print if is_first_on_node else _say_nothing
    cache = find_frame_cache(assignment.cache, warn=warn)
    if group.device.type == "cuda":
        image = Start.from_environment(os.environ).image_sha256
        choose_compile_cache(os.environ, runs_dir=folder.path.parent, image_sha256=image, warn=warn)
    context = RunContext(
        folder=folder,
        reporter=reporter,
        device=group.device,
        num_workers=num_workers,
        clip_reader=ClipReader(decoder=assignment.decoder, cache=cache),
        group=group,
        compile=assignment.resources.compile,
    )
    try:
        check_code(assignment.run.code)
        log_start(assignment, context)
        stage = STAGES[assignment.run.recipe.kind]
        facts = stage(assignment.run.recipe, assignment, context)
        if group.is_rank0:
            _finish(folder, assignment, reporter, facts, group)
    except Exception as error:
        return end_attempt(error, folder, reporter, group)
    return EXIT_DONE


def _say_nothing(line: str) -> None:
    """Another process of the node says it."""


def _finish(
    folder: RunFolder,
    assignment: Assignment,
    reporter: StatusReporter,
    facts: StageFacts,
    group: ProcessGroup,
) -> None:
    """Write done.json, after all other files: where it exists, they are complete."""
    seconds = reporter.seconds  # read once: it is a running clock
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
        files=digest_results(folder, known={folder.model.name: facts.model_sha256}),
        label_ranks_sha256=digest_label_ranks(folder),
        provenance=provenance(group.device, image_sha256=image_sha256),
        facts=facts,
    )
    save_done(folder.done, done)
    folder.checkpoint.unlink(missing_ok=True)
    folder.error.unlink(missing_ok=True)
    reporter.end("done")


@contextlib.contextmanager
def _lock_run(folder: RunFolder) -> Iterator[bool]:
    """Lock the run until the end of this process; yields False if another process has the lock."""
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _terminate_with_parent() -> None:
    """Have the kernel send SIGTERM when the local queue that started this worker dies.

    A worker must not outlive its queue, even one that was killed.
    """
    if queue_pid := Start.from_environment(os.environ).parent_pid:
        end_with_parent(queue_pid)
