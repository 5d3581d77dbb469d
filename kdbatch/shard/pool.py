"""Maps a function over jobs in worker processes that end with their parent."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.processes import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_parallel(
    work: Callable[[Job], Result], jobs: Iterable[Job], *, processes: int
) -> Generator[Result, None, None]:
    """Yield `work(job)` for every job, in the order of `jobs`.

    `processes` workers share the jobs; 0 means one worker per core, and 1 means this process. At
    most four jobs per worker are submitted ahead, so that neither jobs nor results pile up behind a
    slow consumer. The workers end with the thread that consumes the results.

    Raises:
        UserError: `processes` is below 0.
        BrokenProcessPool: a process died (killed, out of memory, a crash inside a codec).
    """
    if processes < 0:
        raise UserError(
            f"--processes: found {processes}. Write 1 or more, or leave it out for one per core."
        )
    # A container or a SLURM allocation may own fewer cores than the machine has.
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: the caller may run threads (a progress bar), and a fork copies locks that
    # they hold.
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            with _interrupts_deferred():  # submit starts workers, which inherit the mask
                waiting.append(pool.submit(work, job))
            if len(waiting) >= 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is over.

    A worker that gets a Ctrl-C before it can ignore it would print a trace, and so would one whose
    parent was interrupted before it had sent all that the worker reads first.
    """
    # It is started by the first worker otherwise, and then unblocks SIGINT in this thread.
    resource_tracker.ensure_running()
    received: list[FrameType | None] = []
    # The mask holds for this thread, so another one (a progress bar) may take the signal; Python
    # then calls the handler in the main thread all the same.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    if is_main:
        signal.signal(signal.SIGINT, lambda _, frame: received.append(frame))
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        if received and callable(before):
            before(signal.SIGINT, received[0])


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it instead of waiting for jobs without end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent.pid, signal.SIGKILL)
