"""Batches read ahead by other processes (run/data/worker_pool.py) into shared memory, and the same
batches read here.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from kdbatch.run.data.batch import Batch, BatchPlan
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.shared_buffer import SharedBuffer
from kdbatch.run.data.worker_pool import PendingBatch, WorkerPool

PREFETCH_BATCHES = 4  # that are being read; besides, one waits to be taken and one is in use


def read_batch(plan: BatchPlan, clip_reader: ClipReader) -> Batch:
    """The batch, read by this process."""
    memory = np.empty(plan.num_bytes, np.uint8)
    for request in plan.requests:
        clip_reader.read_clips(request, memory)
    return plan.to_batch(memory)


def read_ahead(
    make_plan: Callable[[int], BatchPlan],
    steps: Iterable[int],
    *,
    num_workers: int,
    clip_reader: ClipReader,
) -> Generator[Batch, None, None]:
    """The batches of `steps`, in order, by `num_workers` processes that live as long as this
    iterator.

    A thread makes plans and waits for the processes, so that its caller does not. It is blocked
    most of the time, as is the caller, who waits for the device.
    """
    made = _read_in_workers(map(make_plan, steps), num_workers=num_workers, clip_reader=clip_reader)
    with closing(made), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, made, None)
        while (batch := coming.result()) is not None:
            coming = thread.submit(next, made, None)
            yield batch


def _read_in_workers(
    plans: Iterator[BatchPlan], *, num_workers: int, clip_reader: ClipReader
) -> Generator[Batch, None, None]:
    plan = next(plans, None)
    if plan is None:
        return
    waiting: deque[tuple[BatchPlan, PendingBatch | None]] = deque()
    with (
        closing(SharedBuffer((PREFETCH_BATCHES + 3) * _max_batch_bytes(plan))) as ring,
        WorkerPool(num_workers, buffer=ring, clip_reader=clip_reader) as readers,
    ):
        while plan or waiting:
            while plan and len(waiting) < PREFETCH_BATCHES:
                order = readers.submit(plan.requests, plan.num_bytes)
                if order is None and waiting:
                    break
                waiting.append((plan, order))
                plan = next(plans, None)
            yield _wait_for_batch(*waiting.popleft(), pool=readers, clip_reader=clip_reader)


def _wait_for_batch(
    plan: BatchPlan,
    pending: PendingBatch | None,
    *,
    pool: WorkerPool,
    clip_reader: ClipReader,
) -> Batch:
    """Without an order the ring had no room though nothing was under way: its owner keeps old
    batches. Rather slow than stuck.
    """
    if pending is None:
        return read_batch(plan, clip_reader)
    return plan.to_batch(pool.wait(pending))


def _max_batch_bytes(plan: BatchPlan) -> int:
    """As much as a batch could need: whole frames instead of cut ones, twice that for larger videos
    to come, and the orders.
    """
    frames = sum(shape[0] for shape in plan.shapes)
    pixels = max(reading.sample.height * reading.sample.width for reading in plan.requests)
    return 2 * frames * pixels * 3 + len(plan.requests) * 4096
