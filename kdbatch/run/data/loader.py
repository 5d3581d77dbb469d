"""Batches read ahead by other processes (run/data/worker_pool.py) into shared memory, and the same
batches read here.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from kdbatch.run.data.batch import Batch, BatchPlan
from kdbatch.run.data.clip_reader import read_clips
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.shared_buffer import SharedBuffer
from kdbatch.run.data.worker_pool import PendingBatch, WorkerPool

AHEAD_BATCHES = 4  # that are being read; besides, one waits to be taken and one is in use


def read_here(plan: BatchPlan, *, decoder: str, cache: FrameCache | None = None) -> Batch:
    """The batch, read by this process."""
    memory = np.empty(plan.num_bytes, np.uint8)
    for reading in plan.readings:
        read_clips(reading, memory, decoder=decoder, cache=cache)
    return plan.batch_from(memory)


def read_ahead(
    make_plan: Callable[[int], BatchPlan],
    steps: Iterable[int],
    *,
    num_workers: int,
    decoder: str,
    cache: FrameCache | None = None,
) -> Generator[Batch, None, None]:
    """The batches of `steps`, in order, by `num_workers` processes that live as long as this
    iterator.

    A thread makes plans and waits for the processes, so that its caller does not. It is blocked
    most of the time, as is the caller, who waits for the device.
    """
    made = _in_order(map(make_plan, steps), num_workers=num_workers, decoder=decoder, cache=cache)
    with closing(made), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, made, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, made, None)
            yield batch


def _in_order(
    plans: Iterator[BatchPlan], *, num_workers: int, decoder: str, cache: FrameCache | None = None
) -> Generator[Batch, None, None]:
    plan = next(plans, None)
    if plan is None:
        return
    waiting: deque[tuple[BatchPlan, PendingBatch | None]] = deque()
    with (
        closing(SharedBuffer((AHEAD_BATCHES + 3) * _room(plan))) as ring,
        WorkerPool(num_workers, buffer=ring, decoder=decoder, cache=cache) as readers,
    ):
        while plan or waiting:
            while plan and len(waiting) < AHEAD_BATCHES:
                order = readers.submit(plan.readings, plan.num_bytes)
                if order is None and waiting:
                    break
                waiting.append((plan, order))
                plan = next(plans, None)
            yield _finished(*waiting.popleft(), pool=readers, decoder=decoder, cache=cache)


def _finished(
    plan: BatchPlan,
    pending: PendingBatch | None,
    *,
    pool: WorkerPool,
    decoder: str,
    cache: FrameCache | None = None,
) -> Batch:
    """Without an order the ring had no room though nothing was under way: its owner keeps old
    batches. Rather slow than stuck.
    """
    return (
        plan.batch_from(pool.wait(pending))
        if pending
        else read_here(plan, decoder=decoder, cache=cache)
    )


def _room(plan: BatchPlan) -> int:
    """As much as a batch could need: whole frames instead of cut ones, twice that for larger videos
    to come, and the orders.
    """
    frames = sum(shape[0] for shape in plan.shapes)
    pixels = max(reading.sample.height * reading.sample.width for reading in plan.readings)
    return 2 * frames * pixels * 3 + len(plan.readings) * 4096
