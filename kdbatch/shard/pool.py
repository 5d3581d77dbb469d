"""Work spread over processes: results in the order of the jobs, a bounded number under way, nobody
left behind.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from kdbatch.base.errors import UserError

Task = TypeVar("Task")
Done = TypeVar("Done")


def map_parallel(
    work: Callable[[Task], Done], jobs: Iterable[Task], *, processes: int
) -> Generator[Done, None, None]:
    """`work(job)` for every job, in order, in `processes` processes; in this one where `processes`
    is 1; 0 is one per core.

    At most four jobs per process are under way, so neither jobs nor results pile up behind a slow
    reader.

    Raises:
        UserError: `processes` is below 0.
        BrokenProcessPool: a process died (killed, out of memory, a crash inside a codec).
    """
    if processes < 0:
        raise UserError(
            f"{processes} processes asked for. Say 1 or more, or leave it out for one per core."
        )
    # A container or a SLURM allocation may own fewer cores than the machine has.
    processes = processes or len(os.sched_getaffinity(0))
    if processes == 1:
        yield from map(work, jobs)
        return
    # Spawned, not forked: the caller may run threads (a progress bar), and a fork copies their
    # locks in whatever state they are.
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    waiting: deque[Future[Done]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) >= 4 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Ctrl-C is the parent's to handle; and a worker whose parent was killed must not wait for ever
    for its next job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
